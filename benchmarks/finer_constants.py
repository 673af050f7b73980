"""Constants of the iterations at 1 mm, judged on what is not MALF: one changed at a time.

    python benchmarks/finer_constants.py [--cases NAME …] [--variants NAME …] [--threads N]

Two kinds of cases, all at 1 mm (DRIVENMORPH_DATA), from one start, brain-t1 at 2 mm: pairs of
people painted like a T1 from whole-head label maps (`painted.py`), scored by the Dice of 31
structures; and the T1 of a patient, registered to itself after a known deformation, coarse and
fine, by the mean error at 2,000 points. Every case and variant is kept in
OUTPUT/finer_constants.jsonl, so that the script continues where it was stopped; the table of what
is kept is printed, and written to OUTPUT/finer_constants.md.
"""

import functools
import pathlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from constants import Study, main
from contrast_pairs import SPACING, load_contrasts
from judged import PAINTED, Bounds, Judged, deformed, painted_people
from numpy import ndarray

from drivenmorph_jax.model import ModelConfig, register
from drivenmorph_jax.model.correlation import correlation_demons
from drivenmorph_jax.model.correlation_parameters import Comparison, Steps, layer_of
from drivenmorph_jax.model.finer import FINER_COMPARISON, FINER_ITERATIONS
from drivenmorph_jax.pipeline.pretrained import load_pretrained
from drivenmorph_jax.spatial.resize import downsample, upsample_displacement

# Raise it whenever a case would give other figures with the same constants.
VERSION = 1
WEIGHTS = "brain-t1"
_PARTS: tuple[Bounds, ...] = (((25.0, 40.0), (8.0, 2.5)), ((10.0, 14.0), (3.0, 1.0)))

_SPARE = 8  # voxels around the patient's brain, to each side, that its deformations do not need


class Variant(NamedTuple):
    """How images are compared at 1 mm, and for how long."""

    how: Comparison
    iterations: int


def released(**changes: Any) -> Variant:
    """What is released, but for the named constants."""
    steps = FINER_COMPARISON.steps[0]
    steps = steps._replace(**{k: v for k, v in changes.items() if k in Steps._fields})
    others = {k: v for k, v in changes.items() if k in Comparison._fields}
    how = FINER_COMPARISON._replace(steps=(steps,), **others)
    return Variant(how, changes.get("iterations", FINER_ITERATIONS))


VARIANTS = {
    "none: 2 mm alone": released(iterations=0),
    "first released": Variant(
        Comparison((9,), (Steps(scale=0.7, fluid_sigma=1.0, diffusion_sigma=0.3),)), 20
    ),
    "second released": released(windows=(9,), broad=4.0, elasticity=0.025, iterations=40),
    "released": released(),
    "windows of 9": released(windows=(9,)),
    "windows of 13": released(windows=(13,)),
    "windows of 21": released(windows=(21,)),
    "elasticity 0.0075": released(elasticity=0.0075),
    "elasticity 0.03": released(elasticity=0.03),
    "broad kernel's weight 4": released(broad=4.0),
    "broad kernel's weight 16": released(broad=16.0),
    "scale 0.15": released(scale=0.15),
    "scale 0.35": released(scale=0.35),
    "fluid sigma 0.8": released(fluid_sigma=0.8),
    "fluid sigma 1.25": released(fluid_sigma=1.25),
    "momentum 0.3": released(momentum=0.3),
    "momentum 0.7": released(momentum=0.7),
    "40 iterations": released(iterations=40),
    "90 iterations": released(iterations=90),
    "fading from 0.1 to 0": released(small_volume=0.1, least_volume=0.0),
}


def make_study(data: pathlib.Path) -> Study:
    """The study, of data sets in a folder."""
    cases = {
        f"painted {a} {b}": partial(painted_people, a, b, SPACING, data) for a, b in PAINTED[:2]
    }
    cases["deformed 0"] = partial(patient, 0, data)
    variants = {name: [how._asdict(), count] for name, (how, count) in VARIANTS.items()}
    told = [VERSION, load_pretrained(WEIGHTS).sha256]
    return Study("finer_constants", told, variants, cases, finder)


def patient(seed: int, data: pathlib.Path) -> Judged:
    """A patient's T1, and the same after a known deformation."""
    image = load_contrasts(data / "contrasts_1mm")["t1"].data
    inner = slice(_SPARE, -_SPARE)
    return deformed(image[inner, inner, inner], seed, SPACING, _PARTS)


def finder(fixed: ndarray, moving: ndarray) -> Callable[[str], ndarray]:
    """A pair's displacement by a variant, from the one start of them all."""
    weights = load_pretrained(WEIGHTS)
    cfg = weights.config
    pair = jnp.asarray(fixed)[..., None], jnp.asarray(moving)[..., None]
    solve = jax.jit(lambda p, f, m: register(p, f, m, cfg).displacement)
    coarse = solve(weights.params, *map(downsample, pair))
    start = upsample_displacement(coarse, pair[0].shape[:3])

    def find(name: str) -> ndarray:
        variant = VARIANTS[name]
        found = _iterate(*pair, start, cfg=cfg, variant=variant) if variant.iterations else start
        return np.asarray(found)

    return find


@functools.partial(jax.jit, static_argnames=("cfg", "variant"))
def _iterate(fixed, moving, start, *, cfg: ModelConfig, variant: Variant):
    how, iterations = variant
    layer = layer_of(how.steps_at(0))
    pair = layer, fixed, moving, start, cfg
    return correlation_demons(*pair, iterations=iterations, how=how).displacement


if __name__ == "__main__":
    sys.exit(main(make_study))
