"""Filters against SciPy, closed forms, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import ndimage

from drivenmorph_jax.spatial.filters import box_mean, gaussian_smooth, gradient, laplacian, maximum


def _field(shape, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, channels)).astype(np.float32)


@pytest.mark.parametrize("shape", [(9, 11), (8, 9, 10)])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_gaussian_is_scipys(shape, sigma):
    field = _field(shape)
    # A variance of 1e-4 is added, for a finite derivative at sigma = 0.
    widths = ((sigma**2 + 1e-4) ** 0.5,) * len(shape) + (0,)
    expected = ndimage.gaussian_filter(field, widths, mode="constant", truncate=12)
    np.testing.assert_allclose(gaussian_smooth(field, sigma), expected, atol=3e-6)


@pytest.mark.parametrize("shape", [(9, 11), (8, 9, 10), (1, 2, 5)])
@pytest.mark.parametrize("width", [1, 3, 5])
def test_maximum_is_scipys(shape, width):
    field = np.abs(_field(shape))
    size = (width,) * len(shape) + (1,)
    expected = ndimage.maximum_filter(field, size, mode="constant")
    np.testing.assert_array_equal(maximum(field, width), expected)


def test_gaussian_of_width_zero_is_the_identity():
    field = _field((5, 6, 7))
    np.testing.assert_array_equal(gaussian_smooth(field, 0.0), field)
    slope = jax.jit(jax.grad(lambda s: (gaussian_smooth(field, s) ** 2).sum()))(0.0)
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.5, 20.0])
def test_gaussian_never_lengthens_the_longest_vector(sigma):
    for field in (np.ones((6, 7, 8, 3), np.float32), _field((6, 7, 8))):
        longest = np.linalg.norm(field, axis=-1).max()
        smoothed = np.linalg.norm(gaussian_smooth(field, sigma), axis=-1).max()
        assert smoothed <= longest * (1 + 1e-6)


def test_gaussian_keeps_the_mass_of_a_field_away_from_the_border():
    field = np.zeros((17, 17, 17, 1), np.float32)
    field[8, 8, 8] = 1
    smoothed = np.asarray(gaussian_smooth(field, 1.5))[..., 0]
    np.testing.assert_allclose(smoothed.sum(), 1, rtol=1e-5)
    x = np.arange(17) - 8
    np.testing.assert_allclose((smoothed.sum((1, 2)) * x**2).sum(), 1.5**2, rtol=1e-3)


def test_gaussian_has_a_derivative_in_its_width():
    with jax.enable_x64(True):
        field = jnp.asarray(_field((5, 6, 7)), jnp.float64)

        @jax.jit
        def loss(field, log_sigma):
            return jnp.sin(gaussian_smooth(field, jnp.exp(log_sigma))).sum()

        assert loss(field, jnp.zeros(())).dtype == jnp.float64
        for log_sigma in (-1.0, 0.3):
            check_grads(
                loss, (field, jnp.asarray(log_sigma)), 1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-7
            )


@pytest.mark.parametrize("width", [1, 3, 5, 9])
@pytest.mark.parametrize("shape", [(9, 11), (7, 8, 6)])
def test_box_mean_is_scipys(shape, width):
    image = _field(shape, channels=2)
    expected = ndimage.uniform_filter(image, (width,) * len(shape) + (1,), mode="constant")
    np.testing.assert_allclose(box_mean(jnp.asarray(image), width), expected, atol=2e-6)


def test_box_mean_is_its_own_adjoint():
    a, b = (jnp.asarray(_field((5, 6, 7), 1, seed)) for seed in range(2))
    pulled = jax.jit(jax.grad(lambda x: (box_mean(x, 3) * b).sum()))(a)
    np.testing.assert_allclose(pulled, box_mean(b, 3), atol=1e-6)


def test_gradient_of_a_quadratic_is_exact_inside():
    x, y, z = np.indices((6, 7, 8), float)
    image = jnp.asarray((x**2 - 2 * x * y + 0.5 * z**2 + z)[..., None], jnp.float32)
    inside = np.s_[1:-1, 1:-1, 1:-1]
    for slope, expected in zip(gradient(image), (2 * x - 2 * y, -2 * x, z + 1), strict=True):
        assert slope.shape == (6, 7, 8, 1)
        np.testing.assert_allclose(slope[..., 0][inside], expected[inside], atol=1e-4)


def test_gradient_sees_zero_beyond_the_grid():
    down, across = gradient(jnp.ones((4, 5, 1)))
    np.testing.assert_array_equal(down[:, 0, 0], [0.5, 0, 0, -0.5])
    np.testing.assert_array_equal(across[0, :, 0], [0.5, 0, 0, 0, -0.5])


@pytest.mark.parametrize("shape", [(9, 11), (8, 9, 10), (1, 2, 5)])
def test_laplacian_is_scipys(shape):
    field = _field(shape, channels=2)
    channels = np.moveaxis(field, -1, 0)
    expected = np.stack([ndimage.laplace(c, mode="nearest") for c in channels], axis=-1)
    np.testing.assert_allclose(laplacian(field), expected, atol=1e-5)


def test_laplacian_is_the_slope_of_the_differences_of_neighbours():
    field = jnp.asarray(_field((6, 5, 7)))

    def squares(field):
        return sum((jnp.diff(field, axis=axis) ** 2).sum() for axis in range(3))

    np.testing.assert_allclose(-2 * laplacian(field), jax.grad(squares)(field), atol=1e-4)
