"""3-D convolution that runs well on every platform, with one set of parameters.

XLA's native 3-D convolution is slow on CPU; the same sum written as one 2-D convolution per depth
offset is several times faster there, and its derivative by the kernel as one matrix product per
slice (`benchmarks/speed.py` measures it). GPU and TPU keep the native operator.
"""

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.split import stencil

_NDHWC = ("NDHWC", "DHWIO", "NDHWC")


def convolve(
    image: Float[Array, "n d h w i"], kernel: Float[Array, "kd kh kw i o"]
) -> Float[Array, "n d h w o"]:
    """'SAME' cross-correlation with zero padding, kernel axes odd.

    Args:
      image: batch of channel-last volumes.
      kernel: the taps, as Flax's `nn.Conv` stores them.
    """
    return stencil(_convolve, kernel.shape[1] // 2, [image], [kernel])


def _convolve(image, kernel):
    return lax.platform_dependent(image, kernel, cpu=_on_cpu, default=_native)


def conv_general_dilated(
    lhs,
    rhs,
    window_strides: Sequence[int],
    padding,
    lhs_dilation=None,
    rhs_dilation=None,
    dimension_numbers=None,
    feature_group_count: int = 1,
    precision=None,
    **options,
):
    """`lax.conv_general_dilated` with `convolve` where it applies: give it to `flax.linen.Conv`."""
    plain = (
        lhs.ndim == 5
        and padding == "SAME"
        and feature_group_count == 1
        and precision is None
        and all(s == 1 for s in window_strides)
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        and all(k % 2 == 1 for k in rhs.shape[:3])
    )
    if plain:
        return convolve(lhs, rhs)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
        **options,
    )


def _native(image, kernel):
    return lax.conv_general_dilated(image, kernel, (1, 1, 1), "SAME", dimension_numbers=_NDHWC)


@jax.custom_jvp
def _on_cpu(image, kernel):
    return _depth_shifted(image, kernel)


@_on_cpu.defjvp
def _differential(primals, tangents):
    """d(x * k) = dx * k + x * dk, each term in the form whose transpose is fast."""
    image, kernel = primals
    d_image, d_kernel = tangents
    total = _depth_shifted(d_image, kernel) + _slice_by_slice(image, d_kernel)
    return _on_cpu(image, kernel), total


def _depth_shifted(image, kernel):
    batch, depth, *plane = image.shape
    reach = kernel.shape[0] // 2
    padded = jnp.pad(image, ((0, 0), (reach, reach), (0, 0), (0, 0), (0, 0)))
    terms = []
    for offset in range(kernel.shape[0]):
        slices = lax.slice_in_dim(padded, offset, offset + depth, axis=1)
        term = lax.conv_general_dilated(
            slices.reshape(batch * depth, *plane),
            kernel[offset],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        terms.append(term)
    total = functools.reduce(operator.add, terms)
    return total.reshape(batch, depth, *plane[:-1], kernel.shape[-1])


def _slice_by_slice(image, kernel):
    """Patches of one slice at a time, while they fit in the cache, times all depth offsets' taps.

    Transposed by the kernel, the sum over voxels becomes one matrix product a slice; XLA's own
    contraction over the whole volume is three times slower.
    """
    batch, depth, height, width, channels = image.shape
    reach_d, reach_h, reach_w = (n // 2 for n in kernel.shape[:3])
    span_d, span_h, span_w, _, features = kernel.shape
    taps = kernel.transpose(1, 2, 3, 0, 4).reshape(-1, span_d * features)

    @jax.checkpoint
    def body(_, plane):
        padded = jnp.pad(plane, ((reach_h, reach_h), (reach_w, reach_w), (0, 0)))
        shifted = [
            padded[i : i + height, j : j + width] for i in range(span_h) for j in range(span_w)
        ]
        return None, jnp.concatenate(shifted, -1).reshape(height * width, -1) @ taps

    _, answers = lax.scan(body, None, image.reshape(-1, height, width, channels))
    answers = answers.reshape(batch, depth, height, width, -1)
    answers = jnp.pad(answers, ((0, 0), (reach_d, reach_d), (0, 0), (0, 0), (0, 0)))
    terms = [
        answers[:, offset : offset + depth, ..., offset * features : (offset + 1) * features]
        for offset in range(span_d)
    ]
    return functools.reduce(operator.add, terms)
