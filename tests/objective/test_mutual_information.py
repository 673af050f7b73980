"""Mutual information in closed form, against NumPy, and under changes of contrast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective import mutual_information as module

mutual_information = jax.jit(module.mutual_information, static_argnames="bins")
with_gradient = jax.jit(jax.value_and_grad(module.mutual_information, argnums=1))


def _random(seed, shape=(9, 7, 8, 1)):
    return np.random.default_rng(seed).random(shape)


def _reference(fixed, warped, bins, weight):
    """The definition with SciPy-free NumPy: B-splines by their recursion, a full histogram."""

    def assign(values):
        counted = values[weight > 0]
        t = 1 + (values - counted.min()) / np.ptp(counted) * (bins - 3)

        def spline(x, degree):
            if degree == 0:
                return ((x >= -0.5) & (x < 0.5)).astype(float)
            half = (degree + 1) / 2
            left, right = spline(x + 0.5, degree - 1), spline(x - 0.5, degree - 1)
            return ((half + x) * left + (half - x) * right) / degree

        return spline(t[:, None] - np.arange(bins), 3)

    joint = assign(fixed).T @ (assign(warped) * weight[:, None])
    joint /= joint.sum()
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0
    return -(joint[some] * np.log(joint[some] / independent[some])).sum()


@pytest.mark.parametrize("chunk", [2**16, 100])
def test_is_its_definition(monkeypatch, chunk):
    """100 does not divide the 504 voxels: the last chunk is padded, and must not count."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    fixed = _random(0)
    warped = 0.5 * fixed + 0.5 * _random(1)
    mask = _random(2)[..., 0] < 0.7
    with jax.enable_x64(True):
        for use in (None, mask):
            weight = np.ones(mask.shape) if use is None else use.astype(float)
            expected = _reference(fixed.ravel(), warped.ravel(), 10, weight.ravel())
            # Not the cached jit: the size of the chunks is read while tracing.
            got = module.mutual_information(
                jnp.asarray(fixed),
                jnp.asarray(warped),
                bins=10,
                mask=None if use is None else jnp.asarray(use),
            )
            np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_two_valued_images_in_closed_form():
    """Two values share no bin when they are far apart: that of a 2×2 table."""
    first = (np.arange(64) % 2).reshape(4, 4, 4, 1).astype(np.float32)
    second = (np.arange(64) // 2 % 2).reshape(4, 4, 4, 1).astype(np.float32)
    np.testing.assert_allclose(mutual_information(first, first), -np.log(2), rtol=1e-5)
    np.testing.assert_allclose(mutual_information(first, second), 0, atol=1e-5)
    np.testing.assert_allclose(mutual_information(first, 1 - first), -np.log(2), rtol=1e-5)


def test_inverting_or_scaling_an_intensity_changes_nothing():
    fixed = jnp.asarray(_random(0), jnp.float32)
    warped = 0.6 * fixed + 0.4 * jnp.asarray(_random(1), jnp.float32)
    loss = mutual_information(fixed, warped)
    np.testing.assert_allclose(mutual_information(fixed, 5 - 3 * warped), loss, rtol=1e-3)
    np.testing.assert_allclose(mutual_information(warped, fixed), loss, rtol=1e-5)


def test_a_folded_contrast_is_recognised():
    """No affine map of intensities undoes w = |f|: correlation is blind to it, MI is not."""
    fixed = jnp.asarray(_random(0) - 0.5, jnp.float32)
    unrelated = jnp.asarray(_random(1) - 0.5, jnp.float32)
    assert mutual_information(fixed, jnp.abs(fixed)) < 5 * mutual_information(
        fixed, jnp.abs(unrelated)
    )


def test_what_is_outside_the_mask_does_not_count():
    fixed, warped = jnp.asarray(_random(0)), jnp.asarray(_random(1))
    mask = jnp.asarray(_random(2)[..., 0] < 0.5)
    spoilt = jnp.where(mask[..., None], warped, 1e4)
    loss, gradient = with_gradient(fixed, spoilt, mask=mask)
    np.testing.assert_allclose(loss, mutual_information(fixed, warped, mask=mask), rtol=1e-5)
    assert not jnp.where(mask[..., None], 0, gradient).any()
    assert jnp.abs(gradient).max() > 0


def test_an_empty_mask_gives_zero():
    image = jnp.asarray(_random(0))
    nothing = jnp.zeros(image.shape[:-1], bool)
    loss, gradient = with_gradient(image, image, mask=nothing)
    assert loss == 0
    assert jnp.isfinite(gradient).all()


def test_too_few_bins_are_refused():
    image = jnp.asarray(_random(0))
    with pytest.raises(ValueError, match="bins"):
        mutual_information(image, image, bins=3)
