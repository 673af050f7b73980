"""The last Demons iterations, driven by the slope of the images' local correlation.

What the network has learned brings the anatomy together to about a voxel; what is left is a matter
of the two images themselves. The Demons layer is the same, the force another: that of LCC-Demons
(Lorenzi et al., NeuroImage 2013) and of SyN (Avants et al., MedIA 2008). Images of one contrast are
correlated as they are, those of any contrast by their self-similarity. Where a network also names
structures, what differs in these adds its force (`structure_force`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import ModelConfig, Remat
from drivenmorph_jax.model.correlation_parameters import Comparison, comparison
from drivenmorph_jax.model.demons import (
    DemonsConfig,
    apply_velocity,
    demons_scan,
    smoothed_velocity,
)
from drivenmorph_jax.model.ignored import Ignored, compared, ignored_pyramid
from drivenmorph_jax.model.named import Named, structure_force
from drivenmorph_jax.model.seen import brain_pyramid, seen_pyramid
from drivenmorph_jax.spatial.correlation import squared_correlation
from drivenmorph_jax.spatial.filters import laplacian, maximum
from drivenmorph_jax.spatial.jacobian import strictest_volume
from drivenmorph_jax.spatial.resize import resize_displacement, upsample_displacement
from drivenmorph_jax.spatial.sampling import warp


class Seen(NamedTuple):
    """What is compared of an image: channels (d, h, w, C), and the brain mask (d, h, w, 1)."""

    channels: Float[Array, "d h w c"]
    mask: Float[Array, "d h w 1"]


class CorrelationResult(NamedTuple):
    """What the iterations of one level did.

    Attributes:
      displacement: u after them, (D, H, W, 3), voxels.
      driving_force: (d, h, w, 3), the sum of their forces, 1 per voxel of their level, as far as
        tissue was `compressible`.
    """

    displacement: Float[Array, "D H W 3"]
    driving_force: Float[Array, "d h w 3"]


def correlation_force(
    fixed: Seen,
    moving: Seen,
    displacement: Float[Array, "d h w 3"],
    *,
    window: int,
    ignored: Ignored | None = None,
) -> Float[Array, "d h w 3"]:
    """f = n · ∂⟨cc²⟩/∂u: where to each voxel would move for the local correlation to rise.

    The exact derivative of the interpolated image: central differences of the warped one, which
    see two voxels to each side of an edge, are worth only half as much (docs/experiments.md). It
    jumps where a point passes from voxel to voxel, which a further derivative does not see.

    Args:
      fixed, moving: on one grid.
      displacement: u, its voxels.
      window: width of the cubes, odd.
      ignored: where the images are not to be compared; windows see nothing of it.

    Returns:
      Per voxel of displacement; ⟨cc²⟩ is the mean over the n voxels of both brains.
    """

    def similarity(u):
        still = jax.lax.stop_gradient(u)
        mask = ((fixed.mask > 0) | (warp(moving.mask, still) > 0))[..., 0]
        seen = None
        if ignored is not None:
            seen = compared(ignored, still)[..., 0] > 0.5
            mask &= seen
        warped = warp(moving.channels, u)
        cc = squared_correlation(fixed.channels, warped, window=window, mask=mask, seen=seen)
        return mask.sum() * cc

    return jax.grad(similarity)(displacement)


def compressible(displacement: Float[Array, "d h w 3"], how: Comparison) -> Float[Array, "d h w 1"]:
    """The share of the force that is left where tissue is compressed: 1 down to `small_volume`, 0
    at `least_volume`.

    Of a voxel and its neighbours the most compressed one counts, of each its most compressed corner
    or what ANTs would take for its volume (`strictest_volume`). Without a force the displacement
    only gets smoother there, so that the map need not be smooth everywhere for folds in a few
    places (docs/experiments.md). No derivative passes through it.

    Args:
      displacement: u, voxels.
      how: names the two shares.
    """
    still = jax.lax.stop_gradient(displacement)
    spent = (how.small_volume - strictest_volume(still)) / (how.small_volume - how.least_volume)
    return 1 - maximum(jnp.clip(spent, 0, 1), 3)


def correlation_demons(
    params: dict[str, Float[Array, ""]],
    fixed: Float[Array, "d h w 1"],
    moving: Float[Array, "d h w 1"],
    displacement: Float[Array, "d h w 3"],
    cfg: ModelConfig,
    *,
    iterations: int,
    level: int = 0,
    how: Comparison | None = None,
    named: Named | None = None,
    ignored: Ignored | None = None,
    remat: Remat = "iterations",
) -> CorrelationResult:
    """Iterations of force and Demons layer at a level.

        f = (forces of correlation and structures, as far as tissue is `compressible`) + λ∇²u
        m ← βm + f,    v = (G_fluid + b·G_broad) * bounded(s·m),    u ← G_diffusion * (u ∘ (id + v))

    What keeps the map smooth is a force among the others, or a smoothing; a step is smoothed by a
    narrow and a broad kernel (Risser et al., IEEE TMI 2011); and iterations build up momentum
    (Polyak, 1964). Each kernel's part of v is at most `cfg.max_step` long, v itself 1 + b times
    that. What a level goes without is 0 in its `Steps`.

    Args:
      params: from `init_correlation`.
      fixed, moving: images, background exactly 0.
      displacement: u at the start, (D, H, W, 3), voxels.
      cfg: the architecture.
      iterations: how many.
      level: 0 is full resolution.
      how: images are compared, with what of the constants is no parameter; None is as the
        architecture has it.
      named: the structures of both images, on the grid of the level, which then add their force.
      ignored: where the images are not to be compared.
      remat: see `register`.
    """
    how = how or comparison(cfg)
    steps, window = how.steps_at(level), how.window_at(level)
    update = DemonsConfig(cfg.max_step, 0, cfg.update == "diffeomorphic")
    seen_fixed, seen_moving = see(fixed, level, cfg), see(moving, level, cfg)
    ignored = ignored_pyramid(ignored, level + 1)[level]

    def force_at(state):
        u = state[0]
        force = correlation_force(seen_fixed, seen_moving, u, window=window, ignored=ignored)
        if named is not None:
            force += structure_force(named, u, ignored=ignored)
        return compressible(u, how) * force

    def step(force, state):
        u, momentum, total = state
        momentum = steps.momentum * momentum + force + _elastic_force(params, u)
        velocity = _near_and_far(params, momentum, steps.broad, update)
        return (apply_velocity(params, u, velocity, update), momentum, total + force), None

    start, shapes = displacement, []
    for _ in range(level):
        shapes.append(start.shape[:3])
        half = tuple(-(-n // 2) for n in start.shape[:3])
        start = resize_displacement(start, half, factor=0.5)
    nothing = jnp.zeros_like(start)
    (end, _, total), _ = demons_scan(
        force_at, step, (start, nothing, nothing), iterations, recompute=remat != "none"
    )
    if level == 0:
        return CorrelationResult(end, total)
    # What the level cannot show of the start stays as it was.
    change = end - start
    for shape in reversed(shapes):
        change = upsample_displacement(change, shape)
    return CorrelationResult(displacement + change, total)


def _elastic_force(params, displacement):
    if "log_elasticity" not in params:
        return jnp.zeros_like(displacement)
    return jnp.exp(params["log_elasticity"]) * laplacian(displacement)


def _near_and_far(params, momentum, broad: float, update: DemonsConfig):
    step = jnp.exp(params["log_scale"]) * momentum
    velocity = smoothed_velocity(params, step, update)
    if "log_broad_sigma" in params:
        far = {"log_fluid_sigma": params["log_broad_sigma"]}
        velocity += broad * smoothed_velocity(far, step, update)
    return velocity


def see(image: Float[Array, "d h w 1"], level: int, cfg: ModelConfig) -> Seen:
    """What is compared of an image at a level."""
    if cfg.sees == "mind":
        images, masks = seen_pyramid(image, level + 1, cfg.sees)
    else:
        # Detail is what local correlation makes of an intensity itself.
        images, masks = brain_pyramid(image, level + 1)
    return Seen(images[level], masks[level])
