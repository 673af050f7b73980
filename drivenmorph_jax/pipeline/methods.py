"""The ways to register a pair on the working grid: the network, or classical Demons."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import (
    ClassicalConfig,
    Ignored,
    ModelConfig,
    Params,
    Registration,
    classical_demons,
    finer_iterations,
    register,
    register_finer,
)
from drivenmorph_jax.model.smoothing import (
    classical_smoothing,
    classical_with_regularity,
    network_smoothing,
    smoothing_width,
    with_regularity,
)
from drivenmorph_jax.pipeline.pretrained import Pretrained
from drivenmorph_jax.pipeline.refinement import Progress, RefineConfig, refine
from drivenmorph_jax.pipeline.working_space import Shape, Spacing

DEMONS_SPACING: Spacing = (2.0, 2.0, 2.0)


Image = Float[ndarray, "d h w"]
Solve = Callable[[Image, Image, Ignored | None], Registration]
Finish = Callable[
    [Image, Image, Ignored | None, Float[ndarray, "d2 h2 w2 3"]], Float[ndarray, "d h w 3"]
]


class Method(NamedTuple):
    """A way to register; make it once for many pairs, so that it compiles once for each shape.

    Attributes:
        name: for the summary.
        spacing: mm of the working grid; None is the fixed image's own.
        least_shape: of the working grid; it grows where a brain does not fit. None: fit the brain.
        solve: fixed and moving (D, H, W), and what to ignore, to a Registration. Of each level's
            iterations one entry remains: the sum of the driving forces, the last velocity, the
            last raw step; of the correlation's iterations nothing but the displacement.
        details: plain values for the summary: constants, weights, checksum.
        smoothing_voxels: the widest Gaussian that a force passes through (`smoothing_width`).
        any_contrast: whether the two images may differ in contrast.
        finish: for a grid of half the spacing: fixed and moving there, what to ignore, and the
            displacement that was found on the working grid, to one there. None: it has no use for
            finer images (see `at_resolution_of`).
    """

    name: str
    spacing: Spacing | None
    least_shape: Shape | None
    solve: Solve
    details: dict[str, Any]
    smoothing_voxels: float = 0.0
    any_contrast: bool = False
    finish: Finish | None = None


def network_method(
    pretrained: Pretrained, *, regularity: float = 1.0, finer: bool = True
) -> Method:
    """DrivenMorph with trained parameters, at the resolution that it was trained at.

    Args:
        pretrained: the weights.
        regularity: smoother than as trained above 1, less so below: see `with_regularity`.
        finer: whether it goes on from there where both images are finer (`register_finer`).

    Raises:
        InputError: a regularity that is not above 0.
    """
    params, cfg = with_regularity(pretrained.params, regularity), pretrained.config

    def solve(fixed, moving, ignored) -> Registration:
        return _run_network(params, fixed[..., None], moving[..., None], ignored, cfg=cfg)

    def finish(fixed, moving, ignored, displacement):
        pair = fixed[..., None], moving[..., None]
        return _run_finer(params, *pair, ignored, displacement, cfg=cfg)

    finer = finer and finer_iterations(cfg) > 0
    details = {"weights": pretrained.source, "sha256": pretrained.sha256}
    details |= {"goes_on_finer": True} if finer else {}
    return Method(
        "drivenmorph",
        pretrained.spacing,
        pretrained.shape,
        solve,
        details | _told(regularity),
        smoothing_voxels=smoothing_width(network_smoothing(params, cfg)),
        any_contrast=cfg.sees == "mind",
        finish=finish if finer else None,
    )


def demons_method(
    cfg: ClassicalConfig = ClassicalConfig(),
    *,
    spacing: Spacing | None = DEMONS_SPACING,
    regularity: float = 1.0,
) -> Method:
    """Classical Demons: no weights.

    Raises:
        InputError: a regularity that is not above 0.
    """
    cfg = classical_with_regularity(cfg, regularity)

    def solve(fixed, moving, ignored) -> Registration:
        return _run_demons(fixed[..., None], moving[..., None], ignored, cfg=cfg)

    details = {"variant": cfg.variant, "iterations": list(cfg.iterations)} | _told(regularity)
    width = smoothing_width(classical_smoothing(cfg))
    return Method("demons", spacing, None, solve, details, smoothing_voxels=width)


def refined_method(
    method: Method, cfg: RefineConfig, *, progress: Progress | None = None
) -> Method:
    """A method, and after it the refinement of each pair on its own, on the method's working grid.

    What the method does on a finer one comes after that; across contrasts it is left out.
    """

    def solve(fixed, moving, ignored) -> Registration:
        registration = method.solve(fixed, moving, ignored)
        pair = fixed[..., None], moving[..., None]
        start = registration.displacement
        # A network for one contrast names structures in that alone.
        named = registration.named if cfg.loss.similarity == "lncc" else None
        found = refine(start, *pair, cfg, named=named, ignored=ignored, progress=progress)
        return registration._replace(displacement=found.displacement)

    any_contrast = method.any_contrast or cfg.loss.similarity in ("mi", "mind")
    if any_contrast:
        method = at_own_resolution(method)
    return method._replace(
        name=f"{method.name}, refined",
        solve=solve,
        details=method.details | {"refinement": dataclasses.asdict(cfg)},
        any_contrast=any_contrast,
    )


def at_own_resolution(method: Method) -> Method:
    """The method without what it does on a finer grid."""
    details = {name: value for name, value in method.details.items() if name != "goes_on_finer"}
    return method._replace(finish=None, details=details)


def _told(regularity: float) -> dict[str, Any]:
    """For the details: nothing where all is as trained."""
    return {} if regularity == 1 else {"regularity": regularity}


def solve_checked(
    method: Method, fixed: ndarray, moving: ndarray, ignored: Ignored | None
) -> Registration:
    """The method's registration, on the host.

    Raises:
        InputError: it is not finite, which only damaged weights bring about.
    """
    # Of the structures nothing is told: they need not leave the device.
    registration = jax.device_get(method.solve(fixed, moving, ignored)._replace(named=None))
    if not np.isfinite(registration.displacement).all():
        origin = method.details.get("weights", method.name)
        raise InputError(f"{origin}: the displacement is not finite: use other weights")
    return registration


@functools.partial(jax.jit, static_argnames="cfg")
def _run_network(params: Params, fixed, moving, ignored, *, cfg: ModelConfig) -> Registration:
    return _thinned(register(params, fixed, moving, cfg, ignored=ignored))


@functools.partial(jax.jit, static_argnames="cfg")
def _run_finer(params: Params, fixed, moving, ignored, displacement, *, cfg: ModelConfig):
    return register_finer(params, fixed, moving, displacement, cfg, ignored=ignored).displacement


@functools.partial(jax.jit, static_argnames="cfg")
def _run_demons(fixed, moving, ignored, *, cfg: ClassicalConfig) -> Registration:
    return _thinned(classical_demons(fixed, moving, cfg, ignored=ignored))


def _thinned(registration: Registration) -> Registration:
    """Without the iterations' own fields: hundreds of MB, of which one figure wants the sum."""
    return registration._replace(
        levels=tuple(
            level._replace(
                driving_force=level.driving_force.sum(0, keepdims=True),
                velocity=level.velocity[-1:],
                raw_step=level.raw_step[-1:],
            )
            for level in registration.levels
        ),
        correlation=(),
    )
