"""Attention of the difference stream: local across the images, then among discrepancy tokens."""

import itertools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.spatial import split

MIN_TEMPERATURE = 0.03
"""Floor of τ: keeps exp(-2/τ) above the smallest float32."""


class Correspondence(NamedTuple):
    """What local cross-attention sees at each voxel.

    Attributes:
      motion: μ, (d, h, w, 3), voxels: where the content of the fixed image lies in the moving one.
      attended_moving: Σ_o a_o c(M̃)(p + o), (d, h, w, C).
      attended_fixed: the same in the other direction.
    """

    motion: Float[Array, "d h w 3"]
    attended_moving: Float[Array, "d h w c"]
    attended_fixed: Float[Array, "d h w c"]


def local_cross_attention(
    params,
    query_fixed: Float[Array, "d h w q"],
    query_moving: Float[Array, "d h w q"],
    value_fixed: Float[Array, "d h w c"],
    value_moving: Float[Array, "d h w c"],
) -> Correspondence:
    """Soft search over a 3³ window, both ways.

    a_o(p) = softmax_o(q(F)(p)·q(M̃)(p + o)/τ + b_o), b even in o;
    μ = ½(μ_{F→M̃} - μ_{M̃→F}) with μ_{A→B} = Σ_o a_o·o, odd under exchange of the images.

    Args:
      params: {"log_temperature": (), "bias": (14,)}; bias 13 belongs to the centre.
      query_fixed, query_moving: unit-norm projections of fixed and warped moving image.
      value_fixed, value_moving: the demon channels that are read at the attended places.
    """
    return split.stencil(
        _local_cross_attention, 1, [query_fixed, query_moving, value_fixed, value_moving], [params]
    )


def _local_cross_attention(query_fixed, query_moving, value_fixed, value_moving, params):
    # Of the 27 offsets in lexicographic order, entry 26 - k is the opposite of entry k.
    bias = params["bias"][np.minimum(np.arange(27), 26 - np.arange(27))]
    temperature = MIN_TEMPERATURE + jnp.exp(params["log_temperature"])
    motion, attended = jax.vmap(_attend, in_axes=(0, 0, 0, None, None))(
        jnp.stack([query_fixed, query_moving]),
        jnp.stack([query_moving, query_fixed]),
        jnp.stack([value_moving, value_fixed]),
        bias,
        temperature,
    )
    return Correspondence(0.5 * (motion[0] - motion[1]), attended[0], attended[1])


def _attend(query, key, value, bias, temperature):
    """Expected offset and value over the window, one plane of nine offsets at a time.

    Channels come first, so that sums over them are sums of contiguous volumes, and the scan keeps
    one compiled body for the three planes. Queries have unit norm, so (q·k - 1)/τ lies in
    [-2/τ, 0] and the sum of exponentials needs no running maximum.
    """
    width = key.shape[-1]
    query = jnp.moveaxis(query, -1, 0)
    window = jnp.moveaxis(jnp.concatenate([key, value], axis=-1), -1, 0)
    window = jnp.pad(window, ((0, 0), (1, 1), (1, 1), (1, 1)))
    depth, height, breadth = query.shape[1:]

    @jax.checkpoint
    def body(total, plane_and_bias):
        plane, plane_bias = plane_and_bias
        slab = lax.dynamic_slice_in_dim(window, plane + 1, depth, axis=1)
        for n, (i, j) in enumerate(itertools.product((-1, 0, 1), repeat=2)):
            there = slab[:, :, 1 + i : 1 + i + height, 1 + j : 1 + j + breadth]
            match = (query * there[:width]).sum(0, keepdims=True)
            weight = jnp.exp((match - 1) / temperature + plane_bias[n])
            vote = [weight, weight * plane, weight * i, weight * j, weight * there[width:]]
            total += jnp.concatenate(vote)
        return total, None

    zero = jnp.zeros((4 + value.shape[-1], depth, height, breadth), query.dtype)
    total, _ = lax.scan(body, zero, (jnp.arange(-1, 2), bias.reshape(3, 9)))
    mean = jnp.moveaxis(total[1:] / total[:1], 0, -1)
    return mean[..., :3], mean[..., 3:]


class TokenAttention(nn.Module):
    """Self-attention over discrepancy tokens, for spatial coherence.

    Tokens are pooled 2×2×2 where the level is larger than `global_tokens`; then all attend to all
    if few enough, else within windows. Background tokens are never attended to. The answer is
    spread back over the voxels and added.
    """

    window: int
    global_tokens: int
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "d h w t"], mask: Float[Array, "d h w 1"]
    ) -> Float[Array, "d h w t"]:
        width = tokens.shape[-1]
        shape = tokens.shape[:3]
        patch = 1 if np.prod(shape) <= self.global_tokens else 2
        pooled, present = _pool(tokens * mask, patch), _pool(mask, patch)
        pooled = pooled / jnp.maximum(present, 1e-6) * (present > 0)
        grid = pooled.shape[:3]
        side = max(grid) if np.prod(grid) <= self.global_tokens else self.window
        windows = tuple(min(side, n) for n in grid)
        pooled = nn.RMSNorm(name="norm", dtype=self.dtype)(pooled)
        blocks = _to_blocks(pooled, windows)
        inside = _to_blocks(present, windows)[..., 0] > 0
        query, key, value = (
            nn.Dense(width, use_bias=False, name=n, dtype=self.dtype)(blocks)
            for n in ("query", "key", "value")
        )
        logits = jnp.einsum("bqc,bkc->bqk", query, key) * width**-0.5
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        logits = jnp.where(inside[:, None, :], logits, -1e9)
        weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
        mixed = jnp.einsum("bqk,bkc->bqc", weights, value)
        mixed = nn.Dense(width, use_bias=False, name="output", dtype=self.dtype)(mixed)
        mixed = _from_blocks(mixed, windows, grid).astype(tokens.dtype)
        if patch > 1:
            mixed = jnp.repeat(jnp.repeat(jnp.repeat(mixed, 2, 0), 2, 1), 2, 2)
        return tokens + mixed[: shape[0], : shape[1], : shape[2]]


def _pool(x, patch: int):
    if patch == 1:
        return x
    x = jnp.pad(x, (*((0, n % patch) for n in x.shape[:3]), (0, 0)))
    window = (patch, patch, patch, 1)
    zero = np.zeros((), x.dtype)
    return lax.reduce_window(x, zero, lax.add, window, window, "VALID") / patch**3


def _to_blocks(x, windows):
    """`_partition`. Of a volume that is split over devices, windows that lie within a slab stay
    there; where the slabs cut windows, the tokens are gathered and the windows divided anew."""
    if not _within_slabs(x.shape, windows):
        return split.constrain(_partition(split.constrain(x, split.WHOLE), windows), split.SPREAD)
    return split.map_slabs(
        lambda slab: _partition(slab, windows), in_specs=split.slabs(4), out_specs=split.SPREAD
    )(x)


def _from_blocks(blocks, windows, grid):
    """Inverse of `_to_blocks`."""
    if not _within_slabs((*grid, 1), windows):
        return split.as_slabs(_unpartition(blocks, windows, grid))
    slab = (grid[0], grid[1] // split.space_devices(), grid[2])
    return split.map_slabs(
        lambda blocks: _unpartition(blocks, windows, slab),
        in_specs=split.SPREAD,
        out_specs=split.slabs(4),
    )(blocks)


def _within_slabs(shape, windows) -> bool:
    return split.is_split(shape) and shape[1] // split.space_devices() % windows[1] == 0


def _partition(x, windows):
    """(d, h, w, c) -> (blocks, tokens in a window, c), zero-padded to whole windows."""
    x = jnp.pad(x, (*((0, -n % s) for n, s in zip(x.shape[:3], windows, strict=True)), (0, 0)))
    d, h, w, c = x.shape
    a, b, e = windows
    x = x.reshape(d // a, a, h, w * c).transpose(0, 2, 1, 3)
    x = x.reshape(d // a, h // b, b, a, w * c).transpose(0, 1, 3, 2, 4)
    x = x.reshape(d // a * (h // b), a * b, w // e, e * c).transpose(0, 2, 1, 3)
    return x.reshape(-1, a * b * e, c)


def _unpartition(blocks, windows, grid):
    """Inverse of `_partition`, cropped to the grid."""
    c = blocks.shape[-1]
    a, b, e = windows
    d, h, w = (-(-n // s) * s for n, s in zip(grid, windows, strict=True))
    x = blocks.reshape(d // a * (h // b), w // e, a * b, e * c).transpose(0, 2, 1, 3)
    x = x.reshape(d // a, h // b, a, b, w * c).transpose(0, 1, 3, 2, 4)
    x = x.reshape(d // a, h, a, w * c).transpose(0, 2, 1, 3).reshape(d, h, w, c)
    return x[: grid[0], : grid[1], : grid[2]]
