"""Attention against slow loops in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model.attention import (
    MIN_TEMPERATURE,
    TokenAttention,
    _partition,
    _unpartition,
    local_cross_attention,
)

SHAPE = (4, 3, 5)
OFFSETS = tuple(itertools.product((-1, 0, 1), repeat=3))


def _unit(rng, width):
    x = rng.normal(size=(*SHAPE, width))
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _slow(query, key, value, bias, temperature):
    motion, attended = np.zeros((*SHAPE, 3)), np.zeros((*SHAPE, value.shape[-1]))
    for p in np.ndindex(SHAPE):
        weights, offsets, values = [], [], []
        for k, offset in enumerate(OFFSETS):
            q = np.add(p, offset)
            inside = ((q >= 0) & (q < SHAPE)).all()
            there = key[tuple(q)] if inside else np.zeros(key.shape[-1])
            weights.append(np.exp(query[p] @ there / temperature + bias[min(k, 26 - k)]))
            offsets.append(offset)
            values.append(value[tuple(q)] if inside else np.zeros(value.shape[-1]))
        weights = np.array(weights) / np.sum(weights)
        motion[p] = weights @ np.array(offsets)
        attended[p] = weights @ np.array(values)
    return motion, attended


def test_local_attention_is_its_definition():
    rng = np.random.default_rng(0)
    qf, qm = _unit(rng, 4), _unit(rng, 4)
    vf, vm = rng.normal(size=(2, *SHAPE, 3))
    params = {"log_temperature": np.log(0.3), "bias": rng.normal(size=14)}
    params32 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    operands = [jnp.asarray(x, jnp.float32) for x in (qf, qm, vf, vm)]
    got = jax.jit(local_cross_attention)(params32, *operands)
    temperature = MIN_TEMPERATURE + 0.3
    there, attended_moving = _slow(qf, qm, vm, params["bias"], temperature)
    back, attended_fixed = _slow(qm, qf, vf, params["bias"], temperature)
    np.testing.assert_allclose(got.motion, (there - back) / 2, atol=1e-5)
    np.testing.assert_allclose(got.attended_moving, attended_moving, atol=1e-5)
    np.testing.assert_allclose(got.attended_fixed, attended_fixed, atol=1e-5)
    swapped = jax.jit(local_cross_attention)(
        params32, operands[1], operands[0], operands[3], operands[2]
    )
    # The two directions are one batch: a processor may round its halves differently.
    np.testing.assert_allclose(got.motion, -swapped.motion, atol=1e-6)
    np.testing.assert_allclose(got.attended_moving, swapped.attended_fixed, atol=1e-6)


def test_motion_points_to_where_the_content_went():
    """Content at p in the fixed image lies at p + (0, 1, -1) in the moving one."""
    rng = np.random.default_rng(1)
    fixed = rng.normal(size=(8, 8, 8, 12))
    fixed /= np.linalg.norm(fixed, axis=-1, keepdims=True)
    moving = np.roll(fixed, (0, 1, -1), axis=(0, 1, 2))
    params = {"log_temperature": jnp.array(-9.0), "bias": jnp.zeros(14)}
    fixed, moving = jnp.asarray(fixed, jnp.float32), jnp.asarray(moving, jnp.float32)
    motion = jax.jit(local_cross_attention)(params, fixed, moving, fixed, moving).motion
    inner = motion[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, np.broadcast_to([0.0, 1.0, -1.0], inner.shape), atol=0.05)


def test_softmax_survives_the_lowest_temperature():
    rng = np.random.default_rng(2)
    q = jnp.asarray(_unit(rng, 4), jnp.float32)
    params = {"log_temperature": jnp.array(-50.0), "bias": jnp.zeros(14)}

    @jax.jit
    def loss(params, q):
        # Opposite queries: every match is -1 at the centre, the exponent at its lowest.
        return (local_cross_attention(params, q, -q, q, q).motion ** 2).sum()

    assert np.isfinite(loss(params, q))
    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, q)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("grid", [(4, 6, 8), (5, 3, 7), (2, 2, 2)])
@pytest.mark.parametrize("windows", [(2, 2, 2), (4, 3, 2), (5, 3, 7)])
def test_windows_hold_their_own_voxels_and_go_back(grid, windows):
    x = np.arange(np.prod(grid) * 2).reshape(*grid, 2).astype(np.float32)
    blocks = _partition(jnp.asarray(x), windows)
    np.testing.assert_array_equal(_unpartition(blocks, windows, grid), x)
    padded = np.pad(x, (*((0, -n % s) for n, s in zip(grid, windows, strict=True)), (0, 0)))
    counts = [n // s for n, s in zip(padded.shape, windows, strict=False)]
    expected = [
        padded[tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, windows, strict=True))]
        for index in np.ndindex(*counts)
    ]
    np.testing.assert_array_equal(blocks, np.stack(expected).reshape(len(expected), -1, 2))


@pytest.mark.parametrize(
    ("global_tokens", "reach"),
    [(1000, "all"), (30, "pooled"), (2, "window")],
)
def test_tokens_see_the_brain_only(global_tokens, reach):
    shape = (9, 4, 6)
    rng = np.random.default_rng(3)
    tokens = jnp.asarray(rng.normal(size=(*shape, 4)), jnp.float32)
    mask = jnp.zeros((*shape, 1)).at[:8, :, :4].set(1)
    attention = TokenAttention(window=2, global_tokens=global_tokens)
    params = attention.init(jax.random.key(0), tokens, mask)
    apply = jax.jit(attention.apply)
    outcome = apply(params, tokens, mask)
    assert outcome.shape == tokens.shape
    assert np.isfinite(outcome).all()
    brain = np.broadcast_to(np.asarray(mask) > 0, tokens.shape)
    noise = jnp.asarray(rng.normal(size=tokens.shape), jnp.float32) * (1 - mask)
    changed = apply(params, tokens + 5 * noise, mask)
    np.testing.assert_allclose(changed[brain], outcome[brain], atol=1e-6)
    # One token's voice carries to the far end of the brain, unless windows part them.
    nudged = apply(params, tokens.at[0, 0, 0].add(3.0), mask)
    heard = np.abs(nudged - outcome)[7, 3, 3].max() > 1e-7
    assert heard == (reach != "window")


def test_no_tokens_in_the_brain_is_no_error():
    attention = TokenAttention(window=2, global_tokens=100)
    tokens, mask = jnp.ones((4, 4, 4, 4)), jnp.zeros((4, 4, 4, 1))
    params = attention.init(jax.random.key(0), tokens, mask)
    slopes = jax.jit(jax.grad(lambda t: attention.apply(params, t, mask).sum()))(tokens)
    assert np.isfinite(slopes).all()
