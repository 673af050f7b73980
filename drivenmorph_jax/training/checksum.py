"""A number that a state's bits determine, whatever devices it is spread over."""

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32


def checksum(state: Any, *documents: Any) -> int:
    """Checksum of a pytree of arrays, and of values that JSON can hold.

    The sum over all 32-bit words x_i of (2i + 1)·x_i mod 2³², i counting within a leaf: exact in
    any order of summation, so equal on any number of devices. A changed word always shows, for odd
    factors are invertible; other damage does but for one case in 2³².
    """
    total = int(jax.device_get(_sum_of_words(state)))
    return (total + zlib.crc32(json.dumps(documents, sort_keys=True).encode())) % 2**32


@jax.jit
def _sum_of_words(state: Any) -> UInt32[Array, ""]:
    sums = [_weighted(_words(leaf)) for leaf in jax.tree.leaves(state)]
    return sum(sums, jnp.zeros((), jnp.uint32))


def _words(leaf: Array) -> UInt32[Array, "..."]:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    unsigned = jnp.dtype(f"uint{min(8 * leaf.dtype.itemsize, 32)}")
    return jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)


def _weighted(words: UInt32[Array, "..."]) -> UInt32[Array, ""]:
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis, size in enumerate(words.shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    return jnp.sum((2 * place + 1) * words, dtype=jnp.uint32)
