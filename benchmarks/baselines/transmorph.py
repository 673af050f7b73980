"""Swin blocks at a quarter of the resolution and below, convolutions above, after TransMorph.

Chen et al., TransMorph: transformer for unsupervised medical image registration, Medical Image
Analysis 2022; the blocks are those of Liu et al., Swin Transformer, ICCV 2021. Smaller than the
paper's, and with the velocity at half resolution, as the diffeomorphic variant has it.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from baselines.flow import flow_network
from baselines.unet import convolve, velocity_of
from drivenmorph_jax.spatial.resize import downsample, resize_image
from drivenmorph_jax.training.network import Network

CHANNELS = (32, 64, 128)
"""Of the tokens at a quarter, an eighth and a sixteenth of the resolution."""
BLOCKS = 2
"""Of each of these levels: one with plain windows, one with shifted ones."""
HEADS = (4, 4, 8)
WINDOW = (5, 6, 5)
"""Tokens of a window; four of them tile each axis of an 80×96×80 image's quarter."""
FINEST = 16
"""Channels of the convolutions at half resolution."""


class TransMorph(nn.Module):
    """Both images, (D, H, W, 2), to a velocity in voxels of half the resolution."""

    @nn.compact
    def __call__(self, pair: Float[Array, "d h w 2"]) -> Float[Array, "*half 3"]:
        skipped = [convolve(downsample(pair), FINEST)]
        x = nn.Dense(CHANNELS[0])(_patches(pair, 4))
        for channels, heads in zip(CHANNELS, HEADS, strict=True):
            if len(skipped) > 1:
                x = nn.Dense(channels, use_bias=False)(nn.LayerNorm()(_patches(x, 2)))
            for block in range(BLOCKS):
                x = Block(heads, shifted=block % 2 == 1)(x)
            skipped.append(nn.LayerNorm()(x))
        x = skipped.pop()
        for channels, skip in zip((*CHANNELS[-2::-1], FINEST), reversed(skipped), strict=True):
            x = resize_image(x, skip.shape[:3], factor=2.0)
            x = convolve(jnp.concatenate([x, skip], axis=-1), channels)
        return velocity_of(x)


class Block(nn.Module):
    """Attention within windows, then a perceptron, each added to what it is given.

    Attributes:
      heads: of the attention.
      shifted: windows moved by half their size, so that tokens meet those across the borders.
    """

    heads: int
    shifted: bool

    @nn.compact
    def __call__(self, x: Float[Array, "d h w c"]) -> Float[Array, "d h w c"]:
        x = x + self._attend(nn.LayerNorm()(x))
        hidden = nn.gelu(nn.Dense(4 * x.shape[-1])(nn.LayerNorm()(x)))
        return x + nn.Dense(x.shape[-1])(hidden)

    def _attend(self, x):
        grid, channels = x.shape[:3], x.shape[-1]
        window = tuple(min(side, n) for side, n in zip(WINDOW, grid, strict=True))
        padding = [(0, -n % side) for n, side in zip(grid, window, strict=True)]
        shift = [
            side // 2 if self.shifted and n > side else 0
            for n, side in zip(grid, window, strict=True)
        ]
        x = jnp.roll(jnp.pad(x, (*padding, (0, 0))), [-s for s in shift], axis=(0, 1, 2))
        padded = x.shape[:3]
        tokens = _windows(x, window)
        shape = (*tokens.shape[:2], 3, self.heads, channels // self.heads)
        query, key, value = jnp.moveaxis(nn.Dense(3 * channels)(tokens).reshape(shape), 2, 0)
        logits = jnp.einsum("bqhc,bkhc->bhqk", query, key) * shape[-1] ** -0.5
        logits = logits + self._bias(window)[None]
        allowed = _allowed(grid, padded, window, shift)[:, None]
        weights = jax.nn.softmax(jnp.where(allowed, logits, -1e9), axis=-1)
        mixed = jnp.einsum("bhqk,bkhc->bqhc", weights, value).reshape(tokens.shape)
        mixed = _unwindows(nn.Dense(channels)(mixed), window, padded)
        mixed = jnp.roll(mixed, shift, axis=(0, 1, 2))
        return mixed[: grid[0], : grid[1], : grid[2]]

    def _bias(self, window) -> Float[Array, "heads q k"]:
        """One learned number for every offset between two tokens of a window."""
        table = self.param(
            "bias",
            nn.initializers.normal(0.02),
            (int(np.prod([2 * side - 1 for side in WINDOW])), self.heads),
        )
        places = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij"), -1).reshape(-1, 3)
        offsets = places[:, None] - places[None] + np.array(WINDOW) - 1
        index = np.ravel_multi_index(np.moveaxis(offsets, -1, 0), [2 * side - 1 for side in WINDOW])
        return jnp.moveaxis(table[index], -1, 0)


def network() -> Network:
    """The transformer, its velocity integrated."""
    description = {"baseline": "transmorph", "channels": CHANNELS, "blocks": BLOCKS}
    description |= {"heads": HEADS, "window": WINDOW, "finest": FINEST}
    return flow_network(TransMorph(), description)


def _patches(x: Float[Array, "d h w c"], side: int) -> Float[Array, "*patches n"]:
    """Each block of side³ voxels as one token; odd ends are padded with 0."""
    x = jnp.pad(x, (*((0, -n % side) for n in x.shape[:3]), (0, 0)))
    tokens = _windows(x, (side, side, side))
    return tokens.reshape(*(n // side for n in x.shape[:3]), -1)


def _windows(x: Any, window: Sequence[int]) -> Any:
    """(d, h, w, c) to the tokens of every window, (b, n, c); the grid is made of whole ones."""
    d, h, w = (n // side for n, side in zip(x.shape[:3], window, strict=True))
    x = x.reshape(d, window[0], h, window[1], w, window[2], x.shape[-1])
    return x.transpose(0, 2, 4, 1, 3, 5, 6).reshape(d * h * w, -1, x.shape[-1])


def _unwindows(
    tokens: Float[Array, "b n c"], window: Sequence[int], grid: Sequence[int]
) -> Float[Array, "d h w c"]:
    """Inverse of `_windows`."""
    d, h, w = (n // side for n, side in zip(grid, window, strict=True))
    x = tokens.reshape(d, h, w, *window, tokens.shape[-1])
    return x.transpose(0, 3, 1, 4, 2, 5, 6).reshape(*grid, tokens.shape[-1])


def _allowed(grid, padded, window, shift) -> Bool[ndarray, "b n n"]:
    """Which tokens of a window see each other: not across the padding, nor the ends of the grid."""
    regions: Int[ndarray, "d h w 1"] = np.zeros((*padded, 1), np.int32)
    for axis, (n, size, step) in enumerate(zip(grid, padded, shift, strict=True)):
        # 0 inside and 1 in the padding; what the roll brings from the start counts as 2 and 3.
        place = (np.arange(size) + step) % size
        region = (place >= n) + 2 * (place < step)
        regions = 4 * regions + np.expand_dims(region, [a for a in range(4) if a != axis])
    ids = np.asarray(_windows(regions, window))[..., 0]
    return ids[:, :, None] == ids[:, None, :]
