"""The one rule of resolution, x_l = (x_0 + 1/2) / 2^l - 1/2, exact on ramps and affine fields."""

import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.spatial.resize import (
    downsample,
    downsampled_shape,
    resize_displacement,
    resize_image,
    upsample_displacement,
)

SLOPES = np.array([1.5, -2.0, 0.75])


def _ramp(shape, *, level=0):
    """SLOPES · x_0 + 4, at the centres of a level's voxels."""
    grid = np.moveaxis(np.indices(shape, float), 0, -1)
    fine = (grid + 0.5) * 2**level - 0.5
    return jnp.asarray((fine @ SLOPES[: len(shape)] + 4)[..., None], jnp.float32)


def _affine_field(matrix, translation, shape, *, level=0):
    """The map x_0 -> A·x_0 + t, as a displacement in voxels of a level."""
    fine = (np.moveaxis(np.indices(shape, float), 0, -1) + 0.5) * 2**level - 0.5
    moved = fine @ matrix.T + translation
    return jnp.asarray((moved - fine) / 2**level, jnp.float32)


@pytest.mark.parametrize("shape", [(8, 12), (8, 4, 6)])
def test_mean_pooling_keeps_to_the_rule(shape):
    once = downsample(_ramp(shape))
    assert once.shape[:-1] == downsampled_shape(shape)
    np.testing.assert_allclose(once, _ramp(once.shape[:-1], level=1), atol=1e-5)
    if min(shape) >= 4 and all(n % 4 == 0 for n in shape):
        twice = downsample(once)
        np.testing.assert_allclose(twice, _ramp(twice.shape[:-1], level=2), atol=1e-5)


def test_odd_axes_are_padded_with_one_zero():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 7, 2)), jnp.float32)
    half = downsample(image)
    assert half.shape == (*downsampled_shape((5, 6, 7)), 2) == (3, 3, 4, 2)
    padded = np.pad(image, ((0, 1), (0, 0), (0, 1), (0, 0)))
    expected = padded.reshape(3, 2, 3, 2, 4, 2, 2).mean((1, 3, 5))
    np.testing.assert_allclose(half, expected, atol=1e-6)


def test_pooling_keeps_the_mass():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 7, 9, 1)), jnp.float32)
    np.testing.assert_allclose(8 * downsample(image).sum(), image.sum(), rtol=1e-5)


@pytest.mark.parametrize("fine", [(8, 12, 10), (7, 11, 9)])
def test_images_are_brought_up_by_the_same_rule(fine):
    coarse = downsampled_shape(fine)
    got = resize_image(_ramp(coarse, level=1), fine, factor=2.0)
    expected = _ramp(fine)
    np.testing.assert_allclose(got[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=1e-5)


@pytest.mark.parametrize("fine", [(8, 12, 10), (7, 11, 9)])
def test_affine_fields_are_brought_up_exactly(fine):
    matrix = np.array([[1.1, 0.2, -0.1], [-0.1, 0.95, 0.05], [0.0, 0.1, 1.2]])
    translation = np.array([1.0, -2.0, 0.5])
    coarse = _affine_field(matrix, translation, downsampled_shape(fine), level=1)
    expected = _affine_field(matrix, translation, fine)
    inside = np.s_[1:-1, 1:-1, 1:-1]
    for got in (upsample_displacement(coarse, fine),):
        np.testing.assert_allclose(got[inside], expected[inside], atol=1e-5)
    wrong = 2 * jnp.repeat(jnp.repeat(jnp.repeat(coarse, 2, 0), 2, 1), 2, 2)
    wrong = wrong[: fine[0], : fine[1], : fine[2]]
    assert jnp.abs(wrong[inside] - expected[inside]).max() > 0.05


def test_two_levels_are_one_step_of_four():
    matrix = np.eye(3) + 0.1
    coarse = _affine_field(matrix, np.zeros(3), (4, 4, 4), level=2)
    direct = resize_displacement(coarse, (16, 16, 16), factor=4.0)
    stepwise = upsample_displacement(upsample_displacement(coarse, (8, 8, 8)), (16, 16, 16))
    inside = np.s_[3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(direct[inside], stepwise[inside], atol=1e-5)
    expected = _affine_field(matrix, np.zeros(3), (16, 16, 16))
    np.testing.assert_allclose(direct[inside], expected[inside], atol=1e-5)


def test_constants_stay_and_shapes_give_the_factor_of_each_axis():
    u = jnp.broadcast_to(jnp.array([1.0, 2.0, -4.0]), (4, 6, 8, 3))
    resized = resize_displacement(u, (8, 9, 4))
    np.testing.assert_allclose(resized, np.broadcast_to([2.0, 3.0, -2.0], (8, 9, 4, 3)), rtol=1e-6)
    np.testing.assert_allclose(resize_image(jnp.ones((4, 6, 8, 2)), (7, 3, 9)), 1, rtol=1e-6)


def test_same_shape_is_the_identity():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 6, 1)), jnp.float32)
    np.testing.assert_array_equal(resize_image(image, (4, 5, 6)), image)


def test_axes_that_do_not_match_are_refused():
    with pytest.raises(ValueError):
        resize_image(jnp.ones((4, 5, 6, 1)), (4, 5))
