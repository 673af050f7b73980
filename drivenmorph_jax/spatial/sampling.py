"""Interpolation of images at real-valued voxel coordinates, and warping by displacements.

Images are channel-last, (D, H, W, C) or (H, W, C), and coordinates count voxels from the centre
of the first one, in 'ij' order. A displacement u pulls back: warped(x) = image(x + u(x)).
"""

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from drivenmorph_jax.spatial.ring import gather_round
from drivenmorph_jax.spatial.split import is_split

Boundary = Literal["zero", "edge"]


def identity_grid(
    shape: Sequence[int], dtype: jnp.dtype | type = jnp.float32
) -> Float[Array, "..."]:
    """Voxel coordinates of a grid: shape (*shape, len(shape)), in voxels, 'ij' order."""
    axes = [jnp.arange(n, dtype=dtype) for n in shape]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)


def sample(
    image: Num[Array, "*space c"],
    coordinates: Float[Array, "*points n"],
    *,
    order: Literal[0, 1] = 1,
    boundary: Boundary = "zero",
) -> Num[Array, "*points c"]:
    """Value of an image at real-valued voxel coordinates.

    Args:
      image: (D, H, W, C) or (H, W, C).
      coordinates: (..., n) in voxels, n the number of spatial axes.
      order: 1 for (tri)linear interpolation, 0 for the nearest voxel (use it for labels).
      boundary: outside the grid the image is 0 ("zero") or its nearest voxel ("edge").

    Returns:
      (..., C), in the image's dtype for order 0, else promoted with the coordinates'.
    """
    image = jnp.asarray(image)
    if is_split(image.shape, coordinates.shape):
        return _sample_split(image, coordinates, order, boundary)
    corners = _corners(image.shape[:-1], coordinates, order, boundary)
    return _interpolate(image, corners, order)


def _corners(shape, coordinates, order: int, boundary: Boundary):
    return [
        _axis_corners(coordinates[..., axis], size, order, boundary)
        for axis, size in enumerate(shape)
    ]


def _interpolate(image, axes, order: int):
    """Weighted sum over the corners of each point, given per axis."""
    shape = image.shape[:-1]
    flat = image.reshape(-1, image.shape[-1])
    terms = []
    for corner in itertools.product(*axes):
        (index, weight), *others = corner
        for (axis_index, axis_weight), size in zip(others, shape[1:], strict=True):
            index = index * size + axis_index
            weight = weight * axis_weight
        value = flat.at[index].get(mode="promise_in_bounds")
        if order == 0:
            return jnp.where(weight[..., None] > 0, value, jnp.zeros((), value.dtype))
        terms.append(value * weight[..., None])
    return functools.reduce(operator.add, terms)


def _axis_corners(x, size: int, order: int, boundary: Boundary):
    """Per axis: the (index, weight) of each corner that takes part in the interpolation.

    The upper corner is always lower + 1, never the ceiling: at integer coordinates a ceiling would
    make the derivative exactly zero, and a field that starts as the identity would never move.
    """
    last = size - 1
    if boundary == "edge":
        x = jnp.clip(x, 0, last)
    if order == 0:
        # Half-way points go to the even neighbour with jnp.round; floor(x + 1/2) goes up always.
        nearest = jnp.floor(x + 0.5).astype(jnp.int32)
        inside = (nearest >= 0) & (nearest <= last)
        return [(jnp.clip(nearest, 0, last), inside.astype(x.dtype))]
    lower = jnp.floor(x)
    if boundary == "edge":
        lower = jnp.clip(lower, 0, max(last - 1, 0))
    fraction = x - lower
    index = lower.astype(jnp.int32)
    corners = []
    for step, weight in ((0, 1 - fraction), (1, fraction)):
        if boundary == "zero":
            inside = (index + step >= 0) & (index + step <= last)
            weight = jnp.where(inside, weight, 0)
        corners.append((jnp.clip(index + step, 0, last), weight))
    return corners


def _sample_split(image, coordinates, order: int, boundary: Boundary):
    """`sample` where image and coordinates are split over devices along the second axis."""
    shape = image.shape[:-1]

    def contribution(slab, coordinates, first):
        axes = _corners(shape, coordinates, order, boundary)
        rows = slab.shape[1]
        held = []
        for index, weight in axes[1]:
            index = index - first
            weight = jnp.where((index >= 0) & (index < rows), weight, 0)
            held.append((jnp.clip(index, 0, rows - 1), weight))
        return _interpolate(slab, [axes[0], held, axes[2]], order)

    def touches(rows, coordinates, first):
        # By the index: a corner of weight 0 still has a derivative by the coordinate.
        corners = _axis_corners(coordinates[..., 1], shape[1], order, boundary)
        inside = [((index >= first) & (index < first + rows)).any() for index, _ in corners]
        return functools.reduce(operator.or_, inside)

    return gather_round(contribution, touches, image, coordinates)


def warp(
    image: Num[Array, "*space c"],
    displacement: Float[Array, "*out n"],
    *,
    order: Literal[0, 1] = 1,
    boundary: Boundary = "zero",
) -> Num[Array, "*out c"]:
    """Pull an image back: warped(x) = image(x + u(x)), u in voxels of the shared grid.

    Args:
      image: (D, H, W, C) or (H, W, C).
      displacement: (D, H, W, 3) or (H, W, 2), in voxels.
    """
    grid = identity_grid(displacement.shape[:-1], displacement.dtype)
    return sample(image, grid + displacement, order=order, boundary=boundary)
