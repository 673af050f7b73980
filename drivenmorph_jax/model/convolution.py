"""The convolution that every network here is made of."""

import flax.linen as nn
import jax.numpy as jnp

from drivenmorph_jax.model.config import Precision
from drivenmorph_jax.spatial.convolution import conv_general_dilated


def convolution(width: int, name: str, precision: Precision) -> nn.Conv:
    """3³ voxels, without a bias, fast on every platform; made within a compact module."""
    return nn.Conv(
        width,
        (3, 3, 3),
        use_bias=False,
        name=name,
        dtype=jnp.bfloat16 if precision == "bfloat16" else None,
        conv_general_dilated=conv_general_dilated,
    )
