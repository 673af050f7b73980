"""Structures that are named in both images, and the force of their difference."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from drivenmorph_jax.model.ignored import Ignored, compared
from drivenmorph_jax.spatial.sampling import warp


class Named(NamedTuple):
    """The structures of both images.

    Attributes:
      fixed, moving: probabilities (d, h, w, S), 0 in the background.
      weight: what their squared difference counts where squared local correlation counts 1.
    """

    fixed: Float[Array, "d h w s"]
    moving: Float[Array, "d h w s"]
    weight: Float[Array, ""]


def structure_difference(
    named: Named,
    displacement: Float[Array, "d h w 3"],
    *,
    ignored: Ignored | None = None,
) -> Float[Array, ""]:
    """weight · Σ |p_F − p_M∘φ|², over all voxels.

    Args:
      named: on one grid.
      displacement: u, its voxels.
      ignored: where the images are not to be compared.
    """
    squared = ((named.fixed - warp(named.moving, displacement)) ** 2).sum(-1, keepdims=True)
    if ignored is not None:
        squared = squared * compared(ignored, jax.lax.stop_gradient(displacement))
    return named.weight * squared.sum()


def structure_force(
    named: Named,
    displacement: Float[Array, "d h w 3"],
    *,
    ignored: Ignored | None = None,
) -> Float[Array, "d h w 3"]:
    """f = −∂/∂u of `structure_difference`: where to each voxel would move for structures to meet.

    That is 2 · weight · Jᵀr, the driving force of features c = p, J being the exact slope of the
    interpolated probabilities. Per voxel of displacement.
    """
    return -jax.grad(lambda u: structure_difference(named, u, ignored=ignored))(displacement)
