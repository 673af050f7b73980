"""Options that say how to register, for the commands that do."""

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.progress import Say

if TYPE_CHECKING:
    from drivenmorph_jax.pipeline import Method, Pretrained


def add_method_options(parser: Any, *, refine: bool = True) -> None:
    """The method, its weights, and what comes after it, if the command has a use for that."""
    parser.add_argument(
        "--method",
        choices=("drivenmorph", "demons"),
        default="drivenmorph",
        help="the network (default), or classical diffeomorphic Demons, which needs no weights",
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--weights",
        metavar="NAME",
        help="weights of the package: brain-t1-labels (default), for two T1 images, which names "
        "structures in both; brain-t1, likewise, which has seen images alone and is faster; "
        "brain-any, for images of any contrasts",
    )
    weights.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="your own weights: folder of a training run, or of exported ones",
    )
    parser.set_defaults(refine=0, similarity=None, fast=False)
    if refine:
        _add_refinement_options(parser)
    parser.add_argument(
        "--regularity",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="how smooth the map is kept, by the method and by --refine alike: 1 (default) is as "
        "trained, above it smoother, below it closer to the image, where more voxels fold; "
        "measured from 0.25 to 8",
    )


def _add_refinement_options(parser: Any) -> None:
    parser.add_argument(
        "--fast",
        action="store_true",
        help="stay at the network's resolution, of released weights 2 mm; without it, weights for "
        "one contrast go on at half of that where both images are as fine (less than half of the "
        "time, less exact)",
    )
    parser.add_argument(
        "--refine",
        type=int,
        default=0,
        metavar="N",
        help="improve the result for this pair alone by N iterations (such as 50), at the "
        "network's resolution, before what is done on a finer grid: of gradient descent, and what "
        "it minimises never ends higher than it started; with weights for any contrasts, of its "
        "own last kind",
    )
    parser.add_argument(
        "--similarity",
        choices=("lncc", "mi", "mind"),
        help="what --refine's gradient descent makes alike: lncc for one contrast (default); mi or "
        "mind across contrasts, which measured worse than to leave it out with weights for any",
    )


def check_method_options(options: argparse.Namespace) -> None:
    """Ask before JAX is loaded, which takes seconds.

    Raises:
        InputError: weights for a method that has none, or a regularity that is not above 0.
    """
    if not (math.isfinite(options.regularity) and options.regularity > 0):
        raise InputError(
            f"--regularity {options.regularity:g}: give a number above 0, 1 is as trained"
        )
    for name in ("weights", "checkpoint"):
        if options.method == "demons" and getattr(options, name):
            raise InputError(f"--method demons has no weights: leave out --{name}")
    if options.method == "demons" and options.fast:
        raise InputError("--fast is of the network: leave it out with --method demons")


def make_method(options: argparse.Namespace, tell: Say) -> "Method":
    """The method that the options ask for; `tell` hears of each refinement's progress.

    Raises:
        InputError: the weights cannot be used, or the options make no sense together.
    """
    from drivenmorph_jax import pipeline

    if options.method == "demons":
        method = pipeline.demons_method(regularity=options.regularity)
    else:
        if options.checkpoint:
            found = pipeline.load_checkpoint(options.checkpoint)
        else:
            found = pipeline.load_pretrained(options.weights)
        if options.refine and options.similarity is None and found.config.sees == "mind":
            return _prolonged(found, options)
        method = pipeline.network_method(
            found, regularity=options.regularity, finer=not options.fast
        )
    if not options.refine:
        if options.similarity is not None:
            raise InputError("--similarity is of --refine: give --refine N")
        return method
    similarity = options.similarity or "lncc"
    cfg = pipeline.refine_config(
        options.refine, regularity=options.regularity, similarity=similarity
    )
    return pipeline.refined_method(method, cfg, progress=_Progress(options.refine, tell))


def _prolonged(found: "Pretrained", options: argparse.Namespace) -> "Method":
    """What refines a network for any contrast: a loss of two contrasts takes it from the truth, its
    own last iterations go on towards it (docs/experiments.md)."""
    from drivenmorph_jax import pipeline

    longer = pipeline.prolonged(found, options.refine)
    method = pipeline.network_method(longer, regularity=options.regularity)
    details = method.details | {"refinement": {"correlation_iterations": options.refine}}
    return method._replace(name=f"{method.name}, refined", details=details)


class _Progress:
    """Every tenth iteration on a line, with rate and time left."""

    def __init__(self, iterations: int, tell: Say) -> None:
        self._iterations, self._tell = iterations, tell
        self._start = 0.0

    def __call__(self, iteration: int, objective: float) -> None:
        if iteration == 0:
            self._start = time.monotonic()
            self._tell(f"refining: objective {objective:.4f} at the start")
        elif iteration % 10 == 0 or iteration == self._iterations:
            each = (time.monotonic() - self._start) / iteration
            left = each * (self._iterations - iteration)
            self._tell(
                f"refining: {iteration} of {self._iterations}, objective {objective:.4f}, "
                f"{each:.2f} s each, {left:.0f} s left"
            )
