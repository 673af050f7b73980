"""What every dissimilarity has to do, whichever it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective.mind import mind
from drivenmorph_jax.objective.mutual_information import mutual_information
from drivenmorph_jax.objective.similarity import lncc, mse
from drivenmorph_jax.spatial.filters import gaussian_smooth

SHAPE = (9, 8, 10)
LOSSES = {
    "mse": mse,
    "lncc": lncc,
    "mutual_information": functools.partial(mutual_information, bins=12),
    "mind": functools.partial(mind, radius=1, dilation=1),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


@functools.cache
def _jitted(loss):
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


@functools.cache
def _textures(count, dtype="float32"):
    noise = np.random.default_rng(1).normal(size=(count, *SHAPE, 1))
    return jax.jit(jax.vmap(lambda image: gaussian_smooth(image, 1.0)))(jnp.asarray(noise, dtype))


@every_loss
def test_is_least_for_the_image_itself(loss):
    image = _textures(1)[0]
    best, _ = _jitted(loss)(image, image)
    for axis in range(3):
        for shift in (-1, 1, 2):
            shifted = jnp.roll(image, shift, axis=axis)
            assert _jitted(loss)(image, shifted)[0] > best + 0.01 * abs(best)


@every_loss
def test_gradient_agrees_with_finite_differences(loss):
    with jax.enable_x64(True):
        fixed, warped = np.asarray(_textures(2, "float64"))
        # The extremes of an image set its histogram's range, which has no derivative.
        directions = np.random.default_rng(2).normal(size=(3, *warped.shape))
        for image in (fixed, warped):
            directions[:, (image == image.min()) | (image == image.max())] = 0
        value, gradients = _jitted(loss)(fixed, warped)
        assert value.dtype == jnp.float64
        # So small that the minimum inside MIND does not change hands on the way.
        step = 1e-7
        for direction in directions:
            for change, gradient in zip(((direction, 0), (0, direction)), gradients, strict=True):
                ahead = _jitted(loss)(fixed + step * change[0], warped + step * change[1])[0]
                behind = _jitted(loss)(fixed - step * change[0], warped - step * change[1])[0]
                slope = (gradient * direction).sum()
                difference = (ahead - behind) / (2 * step)
                np.testing.assert_allclose(difference, slope, rtol=1e-5, atol=1e-7)


@every_loss
def test_forward_and_reverse_derivatives_agree(loss):
    fixed, warped, direction = _textures(3)
    push = jax.jit(lambda f, w, d: jax.jvp(functools.partial(loss, f), (w,), (d,))[1])
    _, (_, gradient) = _jitted(loss)(fixed, warped)
    reverse = (gradient * direction).sum()
    np.testing.assert_allclose(push(fixed, warped, direction), reverse, rtol=1e-3, atol=1e-7)


@every_loss
def test_gradient_is_finite_on_constant_images(loss):
    texture = _textures(1)[0]
    constant = jnp.full_like(texture, 0.7)
    for pair in ((constant, constant), (texture, constant), (constant, texture)):
        value, gradients = _jitted(loss)(*pair)
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(gradient).all() for gradient in gradients)


@every_loss
def test_vmap_is_the_loop(loss):
    fixed, warped = _textures(6)[:3], _textures(6)[3:]
    mapped = jax.jit(jax.vmap(loss))(fixed, warped)
    looped = [_jitted(loss)(f, w)[0] for f, w in zip(fixed, warped, strict=True)]
    np.testing.assert_allclose(mapped, looped, rtol=1e-4, atol=1e-6)
    assert np.ptp(looped) > 1e-4


@every_loss
def test_channels_are_averaged(loss):
    a, b, c, d = _textures(4)
    both = jax.jit(loss)(jnp.concatenate([a, c], axis=-1), jnp.concatenate([b, d], axis=-1))
    apart = [_jitted(loss)(a, b)[0], _jitted(loss)(c, d)[0]]
    np.testing.assert_allclose(both, np.mean(apart), rtol=1e-4)


@every_loss
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match="one shape"):
        loss(jnp.ones((6, 6, 6, 1)), jnp.ones((1, 6, 6, 1)))


@every_loss
def test_a_mask_of_another_shape_is_refused(loss):
    image = jnp.ones((6, 6, 6, 1))
    with pytest.raises(ValueError, match="mask"):
        jax.eval_shape(loss, image, image, mask=jnp.ones((6, 6, 1), bool))
