"""The MIND descriptor against its definition, and across contrasts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective import mind as module
from drivenmorph_jax.objective.similarity import mse
from drivenmorph_jax.spatial import mind as descriptor
from drivenmorph_jax.spatial.filters import gaussian_smooth

mind = jax.jit(module.mind, static_argnames=("radius", "dilation"))
mind_descriptor = jax.jit(descriptor.mind_descriptor, static_argnames=("radius", "dilation"))


def _texture(seed=0, shape=(12, 11, 10)):
    noise = jnp.asarray(np.random.default_rng(seed).normal(size=(*shape, 1)), jnp.float32)
    return gaussian_smooth(noise, 1.0)


def _by_loops(image, radius, dilation):
    steps = [np.eye(3, dtype=int)[axis] * sign for axis in range(3) for sign in (-1, 1)]
    pairs = [(a, b) for i, a in enumerate(steps) for b in steps[i + 1 :] if (a + b).any()]

    def value(x):
        return image[tuple(np.clip(x, 0, np.array(image.shape) - 1))]

    offsets = np.array(list(np.ndindex(*[2 * radius + 1] * 3))) - radius
    distance = np.zeros((*image.shape, len(pairs)))
    for x in np.ndindex(image.shape):
        for k, (a, b) in enumerate(pairs):
            distance[(*x, k)] = np.mean(
                [(value(x + dilation * a + p) - value(x + dilation * b + p)) ** 2 for p in offsets]
            )
    distance -= distance.min(axis=-1, keepdims=True)
    variance = distance.mean(axis=-1, keepdims=True)
    variance = np.clip(variance, 1e-3 * variance.mean(), 1e3 * variance.mean())
    return np.exp(-distance / variance)


@pytest.mark.parametrize(("radius", "dilation"), [(1, 1), (0, 2)])
def test_descriptor_is_its_definition(radius, dilation):
    image = np.random.default_rng(0).normal(size=(4, 5, 3))
    with jax.enable_x64(True):
        got = mind_descriptor(jnp.asarray(image), radius=radius, dilation=dilation)
    assert got.shape == (4, 5, 3, 12)
    # The order of the pairs is ours: compare what does not depend on it.
    expected = _by_loops(image, radius, dilation)
    np.testing.assert_allclose(np.sort(got, -1), np.sort(expected, -1), rtol=1e-6)


@pytest.mark.parametrize(("gain", "offset"), [(7.0, 3.0), (-0.5, 2.0)])
def test_affine_changes_of_intensity_leave_the_descriptor(gain, offset):
    image = _texture()[..., 0]
    changed = mind_descriptor(gain * image + offset)
    np.testing.assert_allclose(changed, mind_descriptor(image), atol=2e-3)


def test_finds_the_shift_across_contrasts():
    """A contrast that is no affine map of the other: MSE is misled, MIND is not."""
    image = _texture()
    other = jnp.exp(-3 * image)
    shifts = range(-2, 3)
    losses = [mind(image, jnp.roll(other, s, axis=0), radius=1, dilation=1) for s in shifts]
    squares = [mse(image, jnp.roll(other, s, axis=0)) for s in shifts]
    assert int(np.argmin(losses)) == 2
    assert int(np.argmin(squares)) != 2


def test_mask_limits_the_mean():
    fixed, warped = _texture(0), _texture(1)
    mask = jnp.asarray(np.random.default_rng(2).random(fixed.shape[:-1]) < 0.3)
    squares = (mind_descriptor(fixed[..., 0]) - mind_descriptor(warped[..., 0])) ** 2
    np.testing.assert_allclose(
        mind(fixed, warped, mask=mask), np.asarray(squares)[np.asarray(mask)].mean(), rtol=1e-4
    )


def test_constant_image_has_descriptor_one():
    np.testing.assert_array_equal(mind_descriptor(jnp.full((12, 11, 10), 3.0)), 1)


def test_in_a_mask_what_lies_far_outside_does_not_matter():
    image = jnp.pad(_texture()[..., 0], 4)
    mask = image != 0
    found = mind_descriptor(image, mask=mask)
    wide = mind_descriptor(jnp.pad(image, 9), mask=jnp.pad(mask, 9))[9:-9, 9:-9, 9:-9]
    np.testing.assert_allclose(wide, found, atol=1e-6)
    assert np.abs(mind_descriptor(jnp.pad(image, 9))[9:-9, 9:-9, 9:-9] - found).max() > 1e-3
