"""What a registration returns: the map, and everything one may want to see of how it came about."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.model.correlation import CorrelationResult
from drivenmorph_jax.model.named import Named


class LevelResult(NamedTuple):
    """One level of the pyramid, after its K iterations.

    Attributes:
      displacement: u at the end of the level, (d, h, w, 3), voxels of the level.
      force_displacement: the same from the force alone, without this level's learned residual.
      velocity: (K, d, h, w, 3), the smoothed step of each iteration, voxels.
      driving_force: (K, d, h, w, 3), f of each iteration, feature² per voxel.
      raw_step: (K, d, h, w, 3), δ of each iteration before residual, bound and smoothing, voxels.
      gradient_force_norm: (K,), root mean square of the term JᵀWr.
      attention_force_norm: (K,), root mean square of the term g·ρ·μ.
    """

    displacement: Float[Array, "d h w 3"]
    force_displacement: Float[Array, "d h w 3"]
    velocity: Float[Array, "k d h w 3"]
    driving_force: Float[Array, "k d h w 3"]
    raw_step: Float[Array, "k d h w 3"]
    gradient_force_norm: Float[Array, " k"]
    attention_force_norm: Float[Array, " k"]


class Registration(NamedTuple):
    """A displacement on the fixed grid, and its levels.

    Attributes:
      displacement: u, (D, H, W, 3), voxels: warped(x) = moving(x + u(x)).
      levels: coarse to fine, the levels that carry a force.
      correlation: coarse to fine, of the iterations after them.
      named: the structures that added their force to these, where the network names some.
    """

    displacement: Float[Array, "d h w 3"]
    levels: tuple[LevelResult, ...]
    correlation: tuple[CorrelationResult, ...] = ()
    named: Named | None = None


def root_mean_square(vectors: Float[Array, "*k d h w 3"]) -> Float[Array, "*k"]:
    """Root of the mean squared norm over a grid: a statistic, without a gradient."""
    squared = (lax.stop_gradient(vectors) ** 2).sum(-1)
    return jnp.sqrt(squared.mean((-3, -2, -1)))
