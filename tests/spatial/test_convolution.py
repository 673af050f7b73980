"""One convolution for every platform: the same sums, the same parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from drivenmorph_jax.spatial.convolution import conv_general_dilated, convolve

NDHWC = ("NDHWC", "DHWIO", "NDHWC")


def _native(image, kernel):
    return lax.conv_general_dilated(image, kernel, (1, 1, 1), "SAME", dimension_numbers=NDHWC)


def _operands(kernel_shape=(3, 3, 3), inputs=3, outputs=4):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 6, 5, 7, inputs))
    kernel = rng.normal(size=(*kernel_shape, inputs, outputs))
    return jnp.asarray(image, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.mark.parametrize("kernel_shape", [(1, 1, 1), (3, 3, 3), (5, 3, 1), (1, 5, 5)])
def test_values_and_gradients_are_the_native_operators(kernel_shape):
    operands = _operands(kernel_shape)

    def loss(conv):
        return lambda image, kernel: jnp.sin(conv(image, kernel)).sum()

    np.testing.assert_allclose(
        jax.jit(convolve)(*operands), _native(*operands), rtol=1e-4, atol=1e-4
    )
    ours = jax.jit(jax.grad(loss(convolve), argnums=(0, 1)))(*operands)
    theirs = jax.jit(jax.grad(loss(_native), argnums=(0, 1)))(*operands)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)


def _lowered(function, *operands, platform):
    return jax.jit(function).trace(*operands).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_get_the_native_operator(platform):
    text = _lowered(convolve, *_operands(), platform=platform)
    assert text.count("stablehlo.convolution") == 1
    assert "[b, 0, 1, 2, f]x[0, 1, 2, i, o]" in text


def test_cpu_gets_one_plane_convolution_for_each_depth_offset():
    text = _lowered(convolve, *_operands(), platform="cpu")
    assert text.count("stablehlo.convolution") == 3
    assert "[b, 0, 1, f]x[0, 1, i, o]" in text


@pytest.mark.parametrize(
    "options",
    [{}, {"strides": 2}, {"kernel_dilation": 2}, {"feature_group_count": 3}, {"padding": "VALID"}],
)
@pytest.mark.parametrize("size", [2, 3])
def test_flax_layer_keeps_its_parameters_and_values(options, size):
    """Whatever the fast path does not cover falls back to the native operator."""
    image, _ = _operands()
    plain = nn.Conv(6, (size,) * 3, **options)
    ours = nn.Conv(6, (size,) * 3, conv_general_dilated=conv_general_dilated, **options)
    params = plain.init(jax.random.key(0), image)
    shapes = jax.tree.map(jnp.shape, ours.init(jax.random.key(0), image))
    assert shapes == jax.tree.map(jnp.shape, params)
    np.testing.assert_allclose(ours.apply(params, image), plain.apply(params, image), atol=1e-4)


def test_flax_layer_takes_the_fast_path():
    image, _ = _operands()
    layer = nn.Conv(4, (3, 3, 3), conv_general_dilated=conv_general_dilated)
    params = layer.init(jax.random.key(0), image)
    text = _lowered(layer.apply, params, image, platform="cpu")
    assert text.count("stablehlo.convolution") == 3


def test_a_wish_for_precision_is_not_lost():
    image, kernel = _operands()

    def conv(image, kernel):
        return conv_general_dilated(
            image,
            kernel,
            (1, 1, 1),
            "SAME",
            dimension_numbers=NDHWC,
            precision=lax.Precision.HIGHEST,
        )

    assert "HIGHEST" in _lowered(conv, image, kernel, platform="cuda")


def test_vmap_and_low_precision():
    image, kernel = _operands()
    batched = jax.jit(jax.vmap(convolve, in_axes=(0, None)))(image[:, None], kernel)
    np.testing.assert_allclose(batched[:, 0], _native(image, kernel), rtol=1e-4, atol=1e-4)
    low = convolve(image.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), _native(image, kernel), atol=0.5)


def test_forward_mode_and_second_derivatives_are_the_native_operators():
    operands = _operands()
    rng = np.random.default_rng(1)
    along = tuple(jnp.asarray(rng.normal(size=x.shape), jnp.float32) for x in operands)

    def derivatives(conv):
        def loss(image, kernel):
            return jnp.sin(0.1 * conv(image, kernel)).sum()

        forward = jax.jvp(conv, operands, along)[1]
        _, second = jax.jvp(jax.grad(loss, argnums=(0, 1)), operands, along)
        return forward, second

    ours, theirs = (jax.jit(lambda f=f: derivatives(f))() for f in (convolve, _native))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)
