"""Affine maps as 4×4 matrices, and the displacement that one causes on a voxel grid."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.sampling import identity_grid


def affine_matrix(
    translation: Float[Array, "3"],
    rotation: Float[Array, "3"],
    log_scale: Float[Array, "3"],
    shear: Float[Array, "3"],
) -> Float[Array, "4 4"]:
    """Matrix of x ↦ R·S·H x + t; all parameters zero give the identity.

    Args:
      translation: t, in the units of x.
      rotation: axis times angle, radians.
      log_scale: natural logarithm of the scale along each axis (S).
      shear: the entries xy, xz, yz of the unit upper-triangular H.
    """
    x, y, z = rotation
    zero = jnp.zeros_like(x)
    skew = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    upper = jnp.eye(3, dtype=shear.dtype).at[jnp.array([0, 0, 1]), jnp.array([1, 2, 2])].add(shear)
    linear = jax.scipy.linalg.expm(skew) @ jnp.diag(jnp.exp(log_scale)) @ upper
    top = jnp.concatenate([linear, translation[:, None]], axis=1)
    return jnp.concatenate([top, jnp.array([[0.0, 0.0, 0.0, 1.0]], top.dtype)])


def transform_points(
    matrix: Float[Array, "4 4"], points: Float[Array, "*points 3"]
) -> Float[Array, "*points 3"]:
    """A·x for each point."""
    offset = matrix[:3, 3].reshape((1,) * (points.ndim - 1) + (3,))
    return points @ matrix[:3, :3].T + offset


def affine_displacement(
    matrix: Float[Array, "4 4"], shape: Sequence[int]
) -> Float[Array, "d h w 3"]:
    """u(x) = A·x - x on a grid, for a matrix from voxels to voxels."""
    grid = identity_grid(shape, matrix.dtype)
    return transform_points(matrix, grid) - grid
