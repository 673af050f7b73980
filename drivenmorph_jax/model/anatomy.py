"""Naming the anatomy: an image in, for each voxel the probability of every structure out.

What differs between two brains in these probabilities is a difference of anatomy and of nothing
else: no shading, no noise, no brightness of one person's tissue. Both sides of the brain share
their structures. As in the encoder, every statistic is taken over the brain alone, so that the
empty background does not matter.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import AnatomyConfig, Precision
from drivenmorph_jax.model.convolution import convolution
from drivenmorph_jax.model.seen import brain_pyramid, normalise
from drivenmorph_jax.spatial.resize import downsample, resize_image

_SLOPE = 0.1  # of the activation below 0.


def init_anatomy(key: jax.Array, cfg: AnatomyConfig) -> dict[str, Any]:
    """Random parameters; they fit images of any size."""
    image = jnp.ones((2 ** len(cfg.channels),) * 3 + (1,), jnp.float32)
    return cast(dict[str, Any], Anatomy(cfg).init(key, image)["params"])


def structure_logits(
    params, image: Float[Array, "d h w 1"], cfg: AnatomyConfig, *, precision: Precision = "float32"
) -> Float[Array, "d h w s1"]:
    """Logits of the background, first, and of every structure.

    Args:
      params: from `init_anatomy`, the "anatomy" subtree of a network's parameters.
      image: brain-extracted, background exactly 0; any intensity scale.
      cfg: the architecture.
      precision: of the convolutions.
    """
    return cast(Array, Anatomy(cfg, precision).apply({"params": params}, image))


def name_structures(
    params, image: Float[Array, "d h w 1"], cfg: AnatomyConfig, *, precision: Precision = "float32"
) -> Float[Array, "d h w s"]:
    """Probability of every structure, the background left out; the arguments of
    `structure_logits`."""
    logits = structure_logits(params, image, cfg, precision=precision)
    return (jax.nn.softmax(logits) * (image != 0))[..., 1:]


class Anatomy(nn.Module):
    """A U-Net; see `structure_logits`."""

    cfg: AnatomyConfig
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "d h w 1"]) -> Float[Array, "d h w s1"]:
        channels = self.cfg.channels
        images, masks = brain_pyramid(image, len(channels))
        x, skipped = images[0], []
        for level, (mask, width) in enumerate(zip(masks, channels, strict=True)):
            x = downsample(x) if level else x
            x = self._block(x, mask, width, f"down{level}_a")
            x = self._block(x, mask, width, f"down{level}_b")
            skipped.append(x)
        for level in reversed(range(len(channels) - 1)):
            width, mask = channels[level], masks[level]
            x = nn.Dense(width, name=f"lateral{level}")(x)
            x = skipped[level] + resize_image(x, mask.shape[:3], factor=2.0) * mask
            x = self._block(x, mask, width, f"up{level}")
        return nn.Dense(1 + self.cfg.structures, name="structures")(x)

    def _block(self, x, mask, width: int, name: str):
        x = convolution(width, name, self.precision)(x).astype(mask.dtype)
        scale = self.param(f"{name}_scale", nn.initializers.ones_init(), (width,))
        shift = self.param(f"{name}_shift", nn.initializers.zeros_init(), (width,))
        scale, shift = (jnp.expand_dims(values, (0, 1, 2)) for values in (scale, shift))
        return nn.leaky_relu(normalise(x, mask) * scale + shift, _SLOPE) * mask
