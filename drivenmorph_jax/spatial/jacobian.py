"""Jacobian of the map φ(x) = x + u(x)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.split import AXIS, is_split, map_columns


def jacobian_matrix(displacement: Float[Array, "*space n"]) -> Float[Array, "*space n n"]:
    """∂φ_i/∂x_j by central differences (one-sided at the border), per voxel: [..., i, j]."""
    n = displacement.shape[-1]
    axes = tuple(range(displacement.ndim - 1))
    if is_split(displacement.shape):
        rows = displacement.shape[AXIS]
        across = map_columns(lambda u: jnp.gradient(u, axis=AXIS), displacement, rows)
        within = jnp.gradient(displacement, axis=(0, 2))
        derivatives = [within[0], across, within[1]]
    else:
        derivatives = jnp.gradient(displacement, axis=axes)
    return jnp.stack(derivatives, axis=-1) + jnp.eye(n, dtype=displacement.dtype).reshape(
        (1,) * len(axes) + (n, n)
    )


def jacobian_determinant(displacement: Float[Array, "*space n"]) -> Float[Array, "*space"]:
    """det ∂φ/∂x: the local change of volume; <= 0 where the map folds."""
    return determinant(jacobian_matrix(displacement))


def determinant(matrix: Float[Array, "*space n n"]) -> Float[Array, "*space"]:
    """Determinant of 2×2 or 3×3 matrices, written out: `linalg.det` is slow on volumes."""
    if matrix.shape[-1] == 2:
        return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
    a, b, c = matrix[..., 0, :], matrix[..., 1, :], matrix[..., 2, :]
    return (
        a[..., 0] * (b[..., 1] * c[..., 2] - b[..., 2] * c[..., 1])
        - a[..., 1] * (b[..., 0] * c[..., 2] - b[..., 2] * c[..., 0])
        + a[..., 2] * (b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0])
    )
