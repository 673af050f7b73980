"""3-D convolution that runs well on every platform, with one set of parameters.

XLA's native 3-D convolution is slow on CPU; the same sum written as one 2-D convolution per depth
offset is several times faster there (`benchmarks/speed.py` measures it). GPU and TPU keep the
native operator.
"""

import functools
import operator
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_NDHWC = ("NDHWC", "DHWIO", "NDHWC")


def convolve(
    image: Float[Array, "n d h w i"], kernel: Float[Array, "kd kh kw i o"]
) -> Float[Array, "n d h w o"]:
    """'SAME' cross-correlation with zero padding, kernel axes odd.

    Args:
      image: batch of channel-last volumes.
      kernel: the taps, as Flax's `nn.Conv` stores them.
    """
    return lax.platform_dependent(image, kernel, cpu=_depth_shifted, default=_native)


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
