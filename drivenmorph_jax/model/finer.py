"""Images twice as fine as the network: the last iterations at the resolution of the images.

A network registers at the resolution that it was trained at. What finer images show beyond that is
left to iterations driven by their local correlation, which take no training. Here the Demons
iterations are what descent is elsewhere: what keeps the map smooth is a force among the others
(diffusion), a step is smoothed by a narrow and a broad kernel (Risser et al., IEEE TMI 2011), and
iterations build up momentum (Polyak, 1964).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import ModelConfig, Remat
from drivenmorph_jax.model.correlation import (
    CorrelationResult,
    comparison,
    compressible,
    correlation_force,
    correlation_layers,
    init_correlation,
    see,
)
from drivenmorph_jax.model.demons import DemonsConfig, apply_velocity, bounded, demons_scan
from drivenmorph_jax.model.drivenmorph import Params
from drivenmorph_jax.model.ignored import Ignored
from drivenmorph_jax.spatial.filters import gaussian_smooth, laplacian
from drivenmorph_jax.spatial.resize import upsample_displacement


class FinerSteps(NamedTuple):
    """Constants of the iterations; lengths in voxels of the images' grid.

    Attributes:
      iterations: K.
      scale: the step that a force of 1 makes.
      fluid_sigma: width of the step's smoothing.
      broad_sigma: width of the second smoothing of the step, which is added.
      broad: the weight of that.
      elasticity: λ of the force λ∇²u that keeps the displacement smooth.
      momentum: the share of an iteration's force that goes on into the next.
    """

    iterations: int = 40
    scale: float = 0.5
    fluid_sigma: float = 1.0
    broad_sigma: float = 3.0
    broad: float = 4.0
    elasticity: float = 0.03
    momentum: float = 0.7


FINER_STEPS = FinerSteps()
"""Chosen on pairs of MALF beyond the study's first five: see docs/experiments.md."""


class FinerLayer(NamedTuple):
    """The constants that follow those of the network's own finest level."""

    scale: Float[Array, ""]
    fluid_sigma: Float[Array, ""]
    broad_sigma: Float[Array, ""]
    elasticity: Float[Array, ""]


def finer_iterations(cfg: ModelConfig) -> int:
    """How many an architecture takes on a grid of half its spacing: 0 where it has no iterations
    driven by correlation at its own finest level, or compares images whose contrasts differ."""
    goes_on = 0 in correlation_layers(cfg) and cfg.sees != "mind"
    return FINER_STEPS.iterations if goes_on else 0


def finer_layer(params: dict[str, Float[Array, ""]], cfg: ModelConfig) -> FinerLayer:
    """What training or a regularity has made of the finest level's constants, made of these.

    Args:
      params: of the finest level's iterations.
      cfg: the architecture, for what these were initially.
    """
    initial = init_correlation(cfg)
    scale, fluid, diffusion = (
        jnp.exp(params[name] - initial[name])
        for name in ("log_scale", "log_fluid_sigma", "log_diffusion_sigma")
    )
    return FinerLayer(
        scale=FINER_STEPS.scale * scale,
        fluid_sigma=FINER_STEPS.fluid_sigma * fluid,
        broad_sigma=FINER_STEPS.broad_sigma * fluid,
        # A variance of the diffusion smoothing is a weight of the penalty (`with_regularity`).
        elasticity=FINER_STEPS.elasticity * diffusion**2,
    )


def register_finer(
    params: Params,
    fixed: Float[Array, "d h w 1"],
    moving: Float[Array, "d h w 1"],
    displacement: Float[Array, "d2 h2 w2 3"],
    cfg: ModelConfig,
    *,
    ignored: Ignored | None = None,
    remat: Remat = "iterations",
) -> CorrelationResult:
    """What `register` found at half the resolution, continued on the images' own grid.

        f = (force of local correlation, as far as tissue is `compressible`) + λ∇²u
        m ← βm + f,    v = (G_fluid + b·G_broad) * bounded(s·m),    u ← u ∘ exp(v)

    Args:
      params: of the whole network.
      fixed, moving: on one grid, background exactly 0.
      displacement: of `register`, on the grid of `downsample(fixed)`, its voxels.
      cfg: the architecture; `finer_iterations` of it are not 0.
      ignored: where the images are not to be compared, on their grid.
      remat: see `register`.

    Returns:
      The displacement and the sum of the images' forces, in voxels of the images' grid.

    Raises:
      ValueError: the architecture has no such iterations.
    """
    iterations = finer_iterations(cfg)
    if not iterations:
        raise ValueError(
            "an architecture for any contrast, or without correlation_iterations at its finest "
            "level, does not go on at a finer one"
        )
    constants = finer_layer(params["demons"][correlation_layers(cfg)[0]], cfg)
    how = comparison(cfg)
    update = DemonsConfig(cfg.max_step, 0, cfg.update == "diffeomorphic")
    seen_fixed, seen_moving = see(fixed, 0, cfg), see(moving, 0, cfg)

    def force_at(state):
        u = state[0]
        force = correlation_force(
            seen_fixed, seen_moving, u, window=how.window_at(0), ignored=ignored
        )
        return compressible(u, how) * force

    def step(force, state):
        u, momentum, total = state
        momentum = FINER_STEPS.momentum * momentum + force + constants.elasticity * laplacian(u)
        near = bounded(constants.scale * momentum, cfg.max_step)
        far = FINER_STEPS.broad * gaussian_smooth(near, constants.broad_sigma)
        velocity = gaussian_smooth(near, constants.fluid_sigma) + far
        # Nothing smooths the displacement itself: the elastic force has its part.
        return (apply_velocity({}, u, velocity, update), momentum, total + force), None

    start = upsample_displacement(displacement, fixed.shape[:3])
    nothing = jnp.zeros_like(start)
    (end, _, total), _ = demons_scan(
        force_at, step, (start, nothing, nothing), iterations, recompute=remat != "none"
    )
    return CorrelationResult(end, total)
