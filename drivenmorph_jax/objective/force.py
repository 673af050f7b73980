"""Deep supervision of the driving force, level by level."""

from collections.abc import Callable, Sequence
from typing import Protocol

import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.objective.regularity import diffusion
from drivenmorph_jax.spatial.resize import downsample
from drivenmorph_jax.spatial.sampling import warp

Similarity = Callable[[Float[Array, "*space c"], Float[Array, "*space c"]], Float[Array, ""]]
Regularity = Callable[[Float[Array, "*space n"]], Float[Array, ""]]


class ForceLevel(Protocol):
    """What the supervision needs of a level: the field of the forces alone, in its voxels."""

    @property
    def force_displacement(self) -> Float[Array, "*space n"]: ...


class ForceLevels(Protocol):
    """A registration: its levels, coarse to fine."""

    @property
    def levels(self) -> Sequence[ForceLevel]: ...


def force_supervision(
    fixed: Float[Array, "*space c"],
    moving: Float[Array, "*space c"],
    registration: ForceLevels,
    *,
    similarity: Similarity,
    regularity_weight: float,
    regularity: Regularity = diffusion,
    level_weights: Sequence[float] | None = None,
) -> Float[Array, ""]:
    """Σ_l w_l [similarity(F↓l, M↓l ∘ φ_l) + λ · regularity(φ_l)].

    φ_l is composed from the forces alone, without the learned residual, so the force has to
    explain the deformation by itself. Images are halved by mean pooling down to each level.

    Args:
      fixed, moving: (D, H, W, C).
      registration: its `levels[l].force_displacement` is (d, h, w, 3), in voxels of level l.
      similarity: (fixed, warped) -> loss, at every resolution.
      regularity_weight: λ.
      regularity: displacement -> penalty.
      level_weights: w, coarse to fine; by default halved with each coarser level, 1 in sum.

    Raises:
      ValueError: no level, one weight too many or too few, or a level's grid that halving the
        images does not reach.
    """
    levels = registration.levels
    if not levels:
        raise ValueError("the registration has no level to supervise")
    if level_weights is None:
        level_weights = default_level_weights(len(levels))
    if len(level_weights) != len(levels):
        raise ValueError(f"{len(level_weights)} weights do not fit {len(levels)} levels")

    loss = jnp.zeros((), jnp.promote_types(fixed.dtype, jnp.float32))
    for level, weight in reversed(list(zip(levels, level_weights, strict=True))):
        displacement = level.force_displacement
        fixed, moving = _reduce(fixed, moving, displacement.shape[:-1])
        term = similarity(fixed, warp(moving, displacement))
        if regularity_weight:
            term = term + regularity_weight * regularity(displacement)
        loss = loss + weight * term
    return loss


def default_level_weights(levels: int) -> tuple[float, ...]:
    """Weights coarse to fine, each half of the next, 1 in sum."""
    total = 2.0**levels - 1
    return tuple(2.0**level / total for level in range(levels))


def _reduce(fixed, moving, shape):
    """Halve both images until they have the level's shape."""
    while fixed.shape[:-1] != tuple(shape):
        smaller = downsample(fixed)
        if any(have < want for have, want in zip(smaller.shape[:-1], shape, strict=True)):
            raise ValueError(f"halving an image of {fixed.shape[:-1]} does not reach level {shape}")
        fixed, moving = smaller, downsample(moving)
    return fixed, moving
