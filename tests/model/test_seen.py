"""What is seen of an image: of the brain alone, and of the anatomy more than of the scanner."""

import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model.seen import brain_pyramid, detail, normalise
from drivenmorph_jax.spatial.resize import downsample


def test_pyramid_scales_the_brain_to_mean_square_one(brain):
    image = brain(2)
    images, masks = brain_pyramid(7 * image, 3)
    inside = np.asarray(masks[0])[..., 0] > 0
    np.testing.assert_allclose((np.asarray(images[0])[inside] ** 2).mean(), 1, rtol=1e-5)
    for level in (1, 2):
        np.testing.assert_array_equal(images[level], downsample(images[level - 1]))
        assert set(np.unique(masks[level])) <= {0, 1}
    np.testing.assert_array_equal(np.asarray(masks[1]) > 0, np.asarray(images[1]) > 0)


def test_normalisation_counts_the_brain_alone():
    rng = np.random.default_rng(0)
    features = jnp.asarray(5 + 3 * rng.normal(size=(6, 6, 6, 2)), jnp.float32)
    mask = jnp.zeros((6, 6, 6, 1)).at[1:5, 2:].set(1)
    got = np.asarray(normalise(features, mask))
    inside = got[np.asarray(mask)[..., 0] > 0]
    np.testing.assert_allclose(inside.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(inside.std(0), 1, atol=1e-4)
    np.testing.assert_array_equal(got[np.asarray(mask)[..., 0] == 0], 0)
    np.testing.assert_array_equal(normalise(jnp.ones_like(features), mask), 0)


def test_differences_of_detail_are_what_local_correlation_is_made_of():
    """In the one window that a small image fits: Σ(F̂ − M̂)² = 2n(1 − cc), in units of contrast."""
    rng = np.random.default_rng(0)
    one, other = (jnp.asarray(10 * rng.normal(size=(9, 9, 9, 1)), jnp.float32) for _ in range(2))
    other = 0.6 * one + 0.4 * other
    everywhere = jnp.ones_like(one)
    moments = [(x - x.mean()) / x.std() for x in (one, other)]
    cc = float((moments[0] * moments[1]).mean())
    # The middle's window is the whole image: its mean and deviation are those of all.
    at = [np.asarray(detail(x, everywhere))[4, 4, 4, 0] / 0.3 for x in (one, other)]
    np.testing.assert_allclose(at, [float(m[4, 4, 4, 0]) for m in moments], atol=2e-3)
    total = float(((moments[0] - moments[1]) ** 2).sum())
    assert total == pytest.approx(2 * one.size * (1 - cc), rel=1e-4)


def test_detail_does_not_know_the_shading(brain):
    image = brain(1, (24, 24, 24))
    mask = (image != 0).astype(jnp.float32)
    ramp = jnp.linspace(0.7, 1.4, 24)[:, None, None, None]
    plain, shaded = (detail(x, mask) for x in (image, ramp * image))
    assert float(jnp.abs(plain - shaded).mean()) < 0.1 * float(jnp.abs(plain).mean())
    assert float(jnp.abs(image - ramp * image).mean()) > 0.1 * float(jnp.abs(image).mean())
    flat = np.asarray(detail(jnp.ones_like(image), mask))[8:-8, 8:-8, 8:-8]
    np.testing.assert_array_equal(flat, 0)
