"""Mean squares and local correlation against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective import similarity
from drivenmorph_jax.spatial.masks import brain_mask

lncc = jax.jit(similarity.lncc, static_argnames="window")
mse = jax.jit(similarity.mse)
lncc_and_gradients = jax.jit(jax.value_and_grad(similarity.lncc, argnums=(0, 1)))


def _pair(seed=0, shape=(7, 8, 6), channels=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, channels)), rng.normal(size=(*shape, channels))


def _lncc_by_loops(fixed, warped, window):
    """The definition, one window after another, on one channel."""
    half = window // 2
    floor_f, floor_w = 1e-5 * fixed.var(), 1e-5 * warped.var()
    values = np.zeros(fixed.shape)
    for x in np.ndindex(fixed.shape):
        cube = tuple(slice(max(i - half, 0), i + half + 1) for i in x)
        f, w = fixed[cube] - fixed[cube].mean(), warped[cube] - warped[cube].mean()
        covariance = (f * w).mean()
        values[x] = covariance**2 / (((f**2).mean() + floor_f) * ((w**2).mean() + floor_w))
    return values


@pytest.mark.parametrize("window", [3, 5])
def test_lncc_is_its_definition(window):
    fixed, warped = _pair()
    expected = 1 - _lncc_by_loops(fixed[..., 0], warped[..., 0], window).mean()
    with jax.enable_x64(True):
        got = lncc(jnp.asarray(fixed), jnp.asarray(warped), window=window)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_lncc_averages_over_the_mask_and_the_channels():
    fixed, warped = _pair(channels=2)
    mask = np.random.default_rng(5).random(fixed.shape[:-1]) < 0.5
    # The floor is relative to the variance in the mask, a millionth of what is compared here.
    expected = 1 - np.mean([_lncc_by_loops(fixed[..., c], warped[..., c], 3)[mask] for c in (0, 1)])
    got = lncc(jnp.asarray(fixed), jnp.asarray(warped), window=3, mask=jnp.asarray(mask))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.5), (-0.2, 1.0), (1e3, -4e3)])
def test_lncc_ignores_affine_changes_of_intensity(gain, offset):
    fixed, warped = (jnp.asarray(image, jnp.float32) for image in _pair())
    changed = lncc(fixed, gain * warped + offset)
    np.testing.assert_allclose(changed, lncc(fixed, warped), rtol=2e-4)
    np.testing.assert_allclose(lncc(warped, gain * warped + offset), 0, atol=1e-4)


def test_lncc_is_accurate_where_the_mean_is_large():
    """E[F²] − E[F]² of such an image has no correct digit in float32 unless it is centred."""
    fixed, warped = _pair()
    expected = lncc(jnp.asarray(fixed, jnp.float32), jnp.asarray(warped, jnp.float32))
    got = lncc(jnp.asarray(fixed + 1000, jnp.float32), jnp.asarray(warped + 1000, jnp.float32))
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.3, 1e4])
def test_lncc_of_a_constant_image_is_one_and_has_no_gradient(value):
    fixed = jnp.asarray(_pair()[0], jnp.float32)
    constant = jnp.full_like(fixed, value)
    loss, (_, gradient) = lncc_and_gradients(fixed, constant)
    np.testing.assert_allclose(loss, 1, atol=1e-5)
    assert jnp.isfinite(gradient).all()
    loss, (gradient, _) = lncc_and_gradients(constant, constant)
    np.testing.assert_allclose(loss, 1, atol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_lncc_gradient_is_nothing_inside_a_flat_background():
    fixed, warped = (np.array(image, np.float32) for image in _pair(shape=(16, 8, 8)))
    fixed[:9] = warped[:9] = 0
    _, (_, gradient) = lncc_and_gradients(jnp.asarray(fixed), jnp.asarray(warped))
    inside = jnp.abs(gradient[9:]).max()
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient[:4]).max() < 1e-2 * inside


def test_padding_with_background_changes_nothing_over_the_brains():
    fixed, warped = (np.pad(image, [(3, 3)] * 3 + [(0, 0)]) for image in _pair())
    wider = [np.pad(image, [(0, 4), (2, 0), (1, 1), (0, 0)]) for image in (fixed, warped)]

    def loss(a, b):
        a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
        mask = brain_mask(a, b)
        return jnp.stack([lncc(a, b, mask=mask), mse(a, b, mask=mask)])

    np.testing.assert_allclose(loss(*wider), loss(fixed, warped), rtol=1e-5)


def test_mse_is_its_definition():
    fixed, warped = _pair(channels=2)
    mask = np.random.default_rng(5).random(fixed.shape[:-1]) < 0.5
    squares = (fixed - warped) ** 2
    a, b = jnp.asarray(fixed), jnp.asarray(warped)
    np.testing.assert_allclose(mse(a, b), squares.mean(), rtol=1e-5)
    np.testing.assert_allclose(mse(a, b, mask=jnp.asarray(mask)), squares[mask].mean(), rtol=1e-5)
    assert mse(a, b, mask=jnp.zeros(mask.shape, bool)) == 0


def test_half_precision_images_are_compared_in_float32():
    image = jnp.asarray(_pair()[0], jnp.bfloat16)
    assert lncc(image, image).dtype == jnp.float32
    assert mse(image, image).dtype == jnp.float32


def test_an_even_window_is_refused():
    image = jnp.ones((6, 6, 6, 1))
    with pytest.raises(ValueError, match="odd"):
        lncc(image, image, window=4)


def test_lncc_of_what_is_seen_alone():
    """What is not seen has no influence, neither by itself nor through a window."""
    rng = np.random.default_rng(0)
    fixed, noise, other = rng.normal(size=(3, 12, 11, 10, 1)).astype(np.float32)
    warped = fixed + noise / 2
    seen = np.ones((12, 11, 10), bool)
    seen[4:8, 3:7, 3:8] = False
    whole = lncc(fixed, warped)
    np.testing.assert_allclose(lncc(fixed, warped, seen=np.ones_like(seen)), whole, rtol=1e-5)
    changed = np.where(seen[..., None], warped, 5 * other)
    found = [lncc(fixed, image, mask=seen, seen=seen) for image in (warped, changed)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert abs(lncc(fixed, changed, mask=seen) - lncc(fixed, warped, mask=seen)) > 1e-3
    np.testing.assert_allclose(lncc(fixed, 2 * fixed + 1, mask=seen, seen=seen), 0, atol=1e-3)
    gradient = jax.grad(lambda image: lncc(fixed, image, mask=seen, seen=seen))(warped)
    assert np.isfinite(gradient).all() and np.abs(np.asarray(gradient)[~seen]).max() == 0
