"""A U-Net that regresses the whole deformation at once, after VoxelMorph.

Balakrishnan et al., VoxelMorph: a learning framework for deformable medical image registration,
IEEE TMI 2019; diffeomorphic as in Dalca et al., Medical Image Analysis 2019. Channels and depth are
the paper's; the decoder ends at half resolution, where the velocity is. As everywhere in this
library an image is halved by mean pooling and doubled linearly, which keeps the grids aligned.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from baselines.flow import flow_network
from drivenmorph_jax.spatial.convolution import conv_general_dilated
from drivenmorph_jax.spatial.resize import downsample, resize_image
from drivenmorph_jax.training.network import Network

ENCODER = (16, 32, 32, 32, 32)
"""Channels of the levels, from full resolution to a sixteenth."""
DECODER = (32, 32, 32)
"""Channels of the way back, from an eighth to a half."""
LAST = (32, 16)
"""Channels of what follows at half resolution."""

Convolution = partial(nn.Conv, kernel_size=(3, 3, 3), conv_general_dilated=conv_general_dilated)


class UNet(nn.Module):
    """Both images, (D, H, W, 2), to a velocity in voxels of half the resolution."""

    @nn.compact
    def __call__(self, pair: Float[Array, "d h w 2"]) -> Float[Array, "*half 3"]:
        x, skipped = pair, []
        for channels in ENCODER:
            x = downsample(x) if skipped else x
            x = convolve(x, channels)
            skipped.append(x)
        for channels, skip in zip(DECODER, skipped[-2:0:-1], strict=True):
            x = resize_image(x, skip.shape[:3], factor=2.0)
            x = convolve(jnp.concatenate([x, skip], axis=-1), channels)
        for channels in LAST:
            x = convolve(x, channels)
        return velocity_of(x)


def network() -> Network:
    """The U-Net, its velocity integrated."""
    return flow_network(
        UNet(), {"baseline": "unet", "encoder": ENCODER, "decoder": DECODER, "last": LAST}
    )


def convolve(x: Float[Array, "d h w i"], channels: int) -> Float[Array, "d h w o"]:
    """A convolution and VoxelMorph's activation; called within a module."""
    return jax.nn.leaky_relu(Convolution(channels)(x[None])[0], 0.2)


def velocity_of(x: Float[Array, "d h w c"]) -> Any:
    """The last layer, near 0 at first: training starts from the identity."""
    small = nn.initializers.normal(1e-5)
    return Convolution(3, kernel_init=small, name="velocity")(x[None])[0]
