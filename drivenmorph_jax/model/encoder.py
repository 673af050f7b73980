"""Siamese convolutional pyramid: one image in, the features of every level out.

Every activation is multiplied by the level's brain mask and every statistic is taken over the brain
alone, so the features, and with them the registration, do not depend on how much empty background
surrounds it. There is no convolution at full resolution: level 0 is read off level 1 by pixel
shuffle, which costs an eighth and keeps the grids aligned.
"""

from typing import NamedTuple, cast

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import ModelConfig
from drivenmorph_jax.model.convolution import convolution
from drivenmorph_jax.model.seen import normalise, seen_pyramid
from drivenmorph_jax.spatial.resize import downsample, resize_image


class Features(NamedTuple):
    """Features of one image at one level.

    Attributes:
      demon: c(·), (d, h, w, C): the channels whose difference makes the force; 0 in the background.
      attention: q(·), (d, h, w, Q), of unit norm in the brain; Q is 0 where the level has no
        cross-attention.
      mask: (d, h, w, 1), 1 in the brain, else 0.
    """

    demon: Float[Array, "d h w c"]
    attention: Float[Array, "d h w q"]
    mask: Float[Array, "d h w 1"]


def encode(params, image: Float[Array, "d h w 1"], cfg: ModelConfig) -> tuple[Features, ...]:
    """Features of every level of one image, finest first.

    Args:
      params: the "encoder" subtree of the parameters.
      image: brain-extracted, background exactly 0; any intensity scale.
      cfg: the architecture.
    """
    return cast(tuple[Features, ...], Encoder(cfg).apply({"params": params}, image))


def _space_to_depth(image):
    """Each 2×2×2 block of voxels becomes one voxel of eight channels (odd axes padded with 0)."""
    padding = [(0, n % 2) for n in image.shape[:3]]
    image = jnp.pad(image, (*padding, (0, 0)))
    d, h, w = (n // 2 for n in image.shape[:3])
    # One axis at a time keeps every intermediate below rank 6.
    image = image.reshape(d, 2, 2 * h, 2 * w, 1).transpose(0, 2, 3, 1, 4)
    image = image.reshape(d, 2 * h, 2 * w, 2)
    image = image.reshape(d, h, 2, 2 * w, 2).transpose(0, 1, 3, 2, 4).reshape(d, h, 2 * w, 4)
    return image.reshape(d, h, w, 8)


def _depth_to_space(features, shape):
    """Inverse of `_space_to_depth` for C × 8 channels, cropped to `shape`."""
    d, h, w, channels = features.shape
    c = channels // 8
    x = features.reshape(d, h, 2 * w, 4 * c)
    x = x.reshape(d, h, 2 * w, 2, 2 * c).transpose(0, 1, 3, 2, 4).reshape(d, 2 * h, 2 * w, 2 * c)
    x = x.reshape(d, 2 * h, 2 * w, 2, c).transpose(0, 3, 1, 2, 4).reshape(2 * d, 2 * h, 2 * w, c)
    return x[: shape[0], : shape[1], : shape[2]]


class Encoder(nn.Module):
    """The pyramid; see `encode`."""

    cfg: ModelConfig

    @nn.compact
    def __call__(self, image: Float[Array, "d h w 1"]) -> tuple[Features, ...]:
        cfg = self.cfg
        images, masks = seen_pyramid(image, cfg.levels, cfg.sees)
        x = images[1] if cfg.sees == "mind" else _space_to_depth(images[0])
        up_features = []
        for level in range(1, cfg.levels):
            if level > 1:
                x = downsample(x)
            x = self._block(x, masks[level], cfg.channels[level - 1], f"down{level}_a")
            x = self._block(x, masks[level], cfg.channels[level - 1], f"down{level}_b")
            up_features.append(x)
        for level in range(cfg.levels - 2, 0, -1):
            width = cfg.channels[level - 1]
            coarse = self._dense(up_features[level], width, f"lateral{level}")
            coarse = resize_image(coarse, masks[level].shape[:3], factor=2.0)
            merged = up_features[level - 1] + coarse.astype(x.dtype)
            up_features[level - 1] = self._block(merged, masks[level], width, f"up{level}")
        return tuple(
            self._level(level, images[level], masks[level], up_features)
            for level in range(cfg.levels)
        )

    def _level(self, level: int, image, mask, features) -> Features:
        cfg = self.cfg
        demon = self._demon(level, image, mask, features)
        width = cfg.attention_channels if level in cfg.cross_attention else 0
        if level == 0 and width:
            packed = self._dense(features[0], 8 * width, "attention0")
            query = _depth_to_space(packed, image.shape[:3])
        elif width:
            query = self._dense(features[level - 1], width, f"attention{level}")
        else:
            query = jnp.zeros((*image.shape[:3], 0), image.dtype)
        norm = lax.rsqrt((query.astype(image.dtype) ** 2).sum(-1, keepdims=True) + 1e-6)
        return Features(demon, query.astype(image.dtype) * norm * mask, mask)

    def _demon(self, level: int, image, mask, features):
        """Demon channels: the image, and beside it learned ones; or its descriptor's, changed."""
        cfg = self.cfg
        if cfg.sees == "mind":
            # A random frame of the descriptor's channels makes a fair force from the first step on.
            frame = nn.initializers.orthogonal()
            seen = nn.Dense(cfg.demon_channels, False, kernel_init=frame, name=f"mind{level}")(
                image
            )
            zero = nn.initializers.zeros_init()
            learned = self._learned(level, mask, features, cfg.demon_channels, zero)
            return normalise(seen + learned, mask)
        if cfg.demon_channels == 1:
            return image * mask
        learned = self._learned(level, mask, features, cfg.demon_channels - 1)
        return jnp.concatenate([image * mask, normalise(learned, mask)], axis=-1)

    def _learned(self, level: int, mask, features, width: int, kernel_init=None):
        """Channels read off the features."""
        if level == 0:
            packed = self._dense(features[0], 8 * width, "demon0", kernel_init)
            return _depth_to_space(packed, mask.shape[:3]).astype(mask.dtype)
        return self._dense(features[level - 1], width, f"demon{level}", kernel_init).astype(
            mask.dtype
        )

    def _block(self, x, mask, width: int, name: str):
        x = convolution(width, name, self.cfg.precision)(x)
        x = nn.leaky_relu(normalise(x.astype(mask.dtype), mask), 0.2) * mask
        return x

    def _dense(self, x, width: int, name: str, kernel_init=None):
        dtype = jnp.bfloat16 if self.cfg.precision == "bfloat16" else None
        options = {} if kernel_init is None else {"kernel_init": kernel_init}
        return nn.Dense(width, name=name, dtype=dtype, **options)(x)
