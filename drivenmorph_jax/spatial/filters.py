"""Separable filters. The image is 0 beyond its grid, as a brain's background is."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.split import multiply_axis, stencil

FWHM_TO_SIGMA = 1 / 2.3548
"""Standard deviation of a Gaussian over its full width at half maximum."""

_KERNEL_REACH = 128  # voxels summed for the Gaussian's normaliser: exact for any useful sigma


def gaussian_smooth(
    field: Float[Array, "*space c"], sigma: float | Float[Array, ""] | Float[Array, " n"]
) -> Float[Array, "*space c"]:
    """Convolve each spatial axis with a normalised Gaussian; differentiable in sigma.

    Weights are at most 1 in sum, so the largest vector norm of a field never grows. Written as a
    product with one small banded matrix per axis: XLA on CPU recomputes cheap producers at each
    tap of a shifted-slice filter, and a matrix product is fast on GPU and TPU too.

    Args:
      field: (D, H, W, C).
      sigma: standard deviation in voxels, >= 0, one or one an axis; 0 is the identity.
    """
    sigmas = jnp.broadcast_to(jnp.asarray(sigma, field.dtype), (field.ndim - 1,))
    for axis in range(field.ndim - 1):
        matrix = _gaussian_matrix(field.shape[axis], sigmas[axis])
        field = multiply_axis(matrix, field, axis)
    return field


def _gaussian_matrix(size: int, sigma: Float[Array, ""]) -> Float[Array, "n n"]:
    precision = 0.5 / (sigma**2 + 1e-4)
    reach = jnp.arange(-_KERNEL_REACH, _KERNEL_REACH + 1, dtype=sigma.dtype)
    normaliser = jnp.exp(-precision * reach**2).sum()
    index = jnp.arange(size, dtype=sigma.dtype)
    distance = index[:, None] - index[None, :]
    return jnp.exp(-precision * distance**2) / normaliser


def box_mean(image: Float[Array, "*space c"], width: int) -> Float[Array, "*space c"]:
    """Mean over a cube of odd `width`, one axis at a time (a direct 9³ window is 100× slower)."""
    return stencil(lambda image: _box_mean(image, width), width // 2, [image])


def _box_mean(image, width: int):
    spatial = image.ndim - 1
    # A literal: reverse mode needs to see that it is the sum's zero.
    zero = np.zeros((), image.dtype)
    for axis in range(spatial):
        window = [1] * image.ndim
        window[axis] = width
        padding = [(0, 0)] * image.ndim
        padding[axis] = (width // 2, width // 2)
        image = lax.reduce_window(image, zero, lax.add, window, (1,) * image.ndim, padding)
    return image / width**spatial


def maximum(image: Float[Array, "*space c"], width: int) -> Float[Array, "*space c"]:
    """Largest value in a cube of odd `width`, of values of 0 or above: what lies beyond the grid is
    0, or nothing."""
    return stencil(lambda image: _maximum(image, width), width // 2, [image])


def _maximum(image, width: int):
    for axis in range(image.ndim - 1):
        window = [1] * image.ndim
        window[axis] = width
        image = lax.reduce_window(image, -np.inf, lax.max, window, (1,) * image.ndim, "SAME")
    return image


def gradient(image: Float[Array, "*space c"]) -> tuple[Float[Array, "*space c"], ...]:
    """Central differences, per voxel, one array for each spatial axis.

    The image is 0 beyond its grid.
    """
    return stencil(_gradient, 1, [image])


def _gradient(image):
    return tuple(_difference(image, axis) for axis in range(image.ndim - 1))


def _difference(image, axis: int):
    padding = [(0, 0)] * image.ndim
    padding[axis] = (1, 1)
    padded = jnp.pad(image, padding)
    size = image.shape[axis]
    ahead = lax.slice_in_dim(padded, 2, size + 2, axis=axis)
    behind = lax.slice_in_dim(padded, 0, size, axis=axis)
    return 0.5 * (ahead - behind)


def laplacian(field: Float[Array, "*space c"]) -> Float[Array, "*space c"]:
    """Σ_j ∂²/∂x_j² by second differences, per voxel²: minus half the slope of the sum of squared
    differences of neighbouring voxels, across the grid's border none."""
    return stencil(_laplacian, 1, [field], beyond="edge")


def _laplacian(field):
    total = jnp.zeros_like(field)
    for axis in range(field.ndim - 1):
        padding = [(0, 0)] * field.ndim
        padding[axis] = (1, 1)
        total += jnp.diff(jnp.pad(field, padding, mode="edge"), n=2, axis=axis)
    return total
