"""The driving force: its definition channel by channel, and what it may depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import channel_force, driving_force, encode
from drivenmorph_jax.model.difference import DiscrepancyHead, discrepancy_tokens
from drivenmorph_jax.spatial.sampling import warp


def _channels(seed, shape=(5, 6, 7), width=3):
    return np.random.default_rng(seed).normal(size=(*shape, width)).astype(np.float32)


def _slopes(x):
    padded = np.pad(x, ((1, 1), (1, 1), (1, 1), (0, 0)))
    return np.stack([np.gradient(padded, axis=a)[1:-1, 1:-1, 1:-1] for a in range(3)], axis=-1)


@pytest.mark.parametrize("symmetric", [False, True])
def test_force_metric_and_energy_are_their_definitions(symmetric):
    fixed, moving = _channels(0), _channels(1)
    weight = np.abs(_channels(2))
    got = channel_force(
        jnp.asarray(fixed), jnp.asarray(moving), jnp.asarray(weight), symmetric=symmetric
    )
    j = 0.5 * (_slopes(fixed) + _slopes(moving)) if symmetric else _slopes(fixed)
    r = fixed - moving
    np.testing.assert_allclose(
        got.force, np.einsum("...ci,...c,...c->...i", j, weight, r), atol=1e-5
    )
    metric = np.einsum("...ci,...c,...cj->...ij", j, weight, j)
    for k, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
        np.testing.assert_allclose(got.metric[..., k], metric[..., a, b], atol=1e-5)
    np.testing.assert_allclose(got.energy[..., 0], (weight * r**2).sum(-1), atol=1e-5)
    np.testing.assert_array_equal(got.attention_force, 0)


def test_weights_may_be_a_number_and_no_weight_is_one():
    fixed, moving = jnp.asarray(_channels(0)), jnp.asarray(_channels(1))
    plain, doubled = channel_force(fixed, moving), channel_force(fixed, moving, 2.0)
    np.testing.assert_allclose(doubled.force, 2 * plain.force, rtol=1e-6)
    np.testing.assert_allclose(doubled.metric, 2 * plain.metric, rtol=1e-6)


def test_force_descends_the_difference_of_smooth_images():
    """It is minus the derivative of half the squared difference in a displacement at 0."""
    t = np.indices((16, 16, 16)) / 16 * 2 * np.pi
    fixed = jnp.asarray((np.sin(t[0]) + np.cos(t[1] + t[2]))[..., None], jnp.float32)
    moving = jnp.asarray((np.sin(t[0] + 0.1) + np.cos(t[1] + t[2] - 0.1))[..., None], jnp.float32)

    def energy(u):
        return 0.5 * ((fixed - warp(moving, u)) ** 2).sum()

    # Central, as the force: the mean of the one-sided derivatives on both sides of the kink at 0.
    slopes = [jax.grad(energy)(jnp.full((16, 16, 16, 3), e)) for e in (1e-3, -1e-3)]
    inside = np.s_[2:-2, 2:-2, 2:-2]
    down = -0.5 * np.asarray(slopes[0] + slopes[1])[inside]
    force = np.asarray(channel_force(fixed, moving).force)[inside]
    assert np.linalg.norm(force - down) < 0.1 * np.linalg.norm(down)


@pytest.fixture(scope="module")
def sides(params, tiny, pair):
    encoder = jax.jit(lambda image: encode(params["encoder"], image, tiny)[1])
    return encoder(pair[0]), encoder(pair[1])


@pytest.fixture(scope="module")
def force_of(params, tiny):
    level = params["difference"]["level_1"]
    return jax.jit(lambda fixed, moving: driving_force(level, fixed, moving, tiny))


def test_force_is_gradient_plus_attention(sides, force_of, params, tiny):
    fixed, moving = sides
    force = force_of(fixed, moving)
    # Where no difference is large enough for it, attention gives nothing.
    level = params["difference"]["level_1"]
    deaf = {**level, "log_kappa": jnp.full_like(level["log_kappa"], 80.0)}
    silent = jax.jit(lambda: driving_force(deaf, fixed, moving, tiny))()
    np.testing.assert_allclose(silent.attention_force, 0, atol=1e-20)
    scale = np.abs(force.force).max()
    np.testing.assert_allclose(force.force - force.attention_force, silent.force, atol=1e-5 * scale)
    inside = np.asarray(fixed.mask + moving.mask)[..., 0] > 0
    np.testing.assert_array_equal(np.asarray(force.force)[~inside], 0)
    assert np.abs(force.attention_force).max() > 0
    assert (np.asarray(force.energy) >= 0).all()
    assert (np.asarray(force.metric)[..., :3] >= 0).all()


def test_exchange_turns_the_force_and_keeps_its_metric(sides, force_of):
    one, other = force_of(*sides), force_of(*sides[::-1])
    scale = np.abs(one.force).max()
    np.testing.assert_allclose(one.force, -other.force, atol=1e-5 * scale)
    np.testing.assert_allclose(one.attention_force, -other.attention_force, atol=1e-5 * scale)
    np.testing.assert_allclose(one.metric, other.metric, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.energy, other.energy, rtol=1e-4, atol=1e-6)


def test_attention_is_silent_where_there_is_no_difference(sides, force_of):
    """The same demon channels, but queries that would point elsewhere."""
    fixed, moving = sides
    force = force_of(fixed, moving._replace(demon=fixed.demon))
    np.testing.assert_array_equal(force.force, 0)


def test_tokens_are_even_under_exchange(sides):
    fixed, moving = sides
    one, other = discrepancy_tokens(fixed, moving, None), discrepancy_tokens(moving, fixed, None)
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_weights_and_gate_are_never_negative(params, tiny, sides):
    fixed, moving = sides
    plain = params["difference"]["level_0"]["head"]
    head = DiscrepancyHead(tiny, self_attention=False)
    quiet = [side._replace(attention=side.attention[..., :0]) for side in (fixed, moving)]
    weight, gate = head.apply({"params": plain}, *quiet, None)
    assert weight.shape == (*fixed.mask.shape[:3], tiny.demon_channels)
    assert gate.shape == fixed.mask.shape
    assert (np.asarray(weight) >= 0).all()
    assert (np.asarray(gate) >= 0).all()
