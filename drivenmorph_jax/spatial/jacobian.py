"""Jacobian of the map φ(x) = x + u(x)."""

import itertools
from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.split import AXIS, is_split, map_columns, stencil

# Edges of J*₁ and J*₂, the tetrahedra in the middle of a cube of voxels (Liu et al., IJCV 2024).
_MIDDLES = (((-1, -1, 0), (-1, 0, -1), (0, -1, -1)), ((1, 1, 0), (0, 1, 1), (1, 0, 1)))


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
    first, second, third = ([matrix[..., i, j] for j in range(3)] for i in range(3))
    return _dot(first, _cross(second, third))


def least_corner_volume(displacement: Float[Array, "d h w 3"]) -> Float[Array, "d h w 1"]:
    """The least of the ten changes of volume by which non-diffeomorphic volume is counted.

    Eight determinants of forward and backward differences, and those of the two tetrahedra that
    these leave in the middle of each cube, over the 2 that they are without displacement (Liu et
    al., IJCV 2024): above 0 everywhere, the map of voxel centres is a digital diffeomorphism, which
    central differences cannot tell. Beyond the grid the displacement keeps its edge value.
    """
    return stencil(_least_corner_volume, 1, [displacement], beyond="edge")


def _least_corner_volume(displacement):
    padded = jnp.pad(displacement, [(1, 1)] * 3 + [(0, 0)], mode="edge")
    shape = displacement.shape[:3]

    def edge(*step):
        """Components of φ(x + step) − φ(x), for every voxel."""
        there = padded[tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, shape, strict=True))]
        return [(there - displacement)[..., i] + step[i] for i in range(3)]

    along = [
        (edge(*step), [-part for part in edge(*(-s for s in step))])
        for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    volumes = []
    for second, third in itertools.product(along[1], along[2]):
        normal = _cross(second, third)
        volumes += [_dot(first, normal) for first in along[0]]
    for steps in _MIDDLES:
        first, second, third = (edge(*step) for step in steps)
        volumes.append(_dot(first, _cross(second, third)) / 2)
    return reduce(jnp.minimum, volumes)[..., None]


def fourth_order_volume(displacement: Float[Array, "d h w 3"]) -> Float[Array, "d h w 1"]:
    """det ∂φ/∂x by differences of fourth order, (u₋₂ − 8u₋₁ + 8u₁ − u₂)/12, as ANTs takes it.

    Of short waves it sees more than second order does, of one four voxels long 4/3 of that slope,
    and so it counts folds that `jacobian_determinant` and the corners do not. Beyond the grid the
    displacement goes on straight.
    """
    return stencil(_fourth_order_volume, 2, [displacement], beyond="straight")


def _fourth_order_volume(displacement):
    rows = []
    for axis in range(3):
        size, widths = displacement.shape[axis], [(0, 0)] * 4
        widths[axis] = (2, 2)
        padded = jnp.pad(displacement, widths, mode="reflect", reflect_type="odd")
        beside = [lax.slice_in_dim(padded, k, k + size, axis=axis) for k in (0, 1, 3, 4)]
        derivative = (beside[0] - 8 * beside[1] + 8 * beside[2] - beside[3]) / 12
        rows.append([derivative[..., i] + (i == axis) for i in range(3)])
    return _dot(rows[0], _cross(rows[1], rows[2]))[..., None]


def strictest_volume(displacement: Float[Array, "d h w 3"]) -> Float[Array, "d h w 1"]:
    """The lesser of `least_corner_volume` and `fourth_order_volume`: by one of them a map folds
    before it does by central differences."""
    return jnp.minimum(least_corner_volume(displacement), fourth_order_volume(displacement))


def _cross(a, b):
    return [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
