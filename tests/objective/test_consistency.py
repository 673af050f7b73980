"""Inverse consistency of maps whose inverse is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective import consistency
from drivenmorph_jax.spatial import fields
from drivenmorph_jax.spatial.filters import gaussian_smooth

exponential = jax.jit(fields.exponential)
compose = jax.jit(fields.compose)
inverse_consistency = jax.jit(consistency.inverse_consistency)


def _velocity():
    noise = np.random.default_rng(0).normal(size=(14, 12, 13, 3))
    return gaussian_smooth(jnp.asarray(noise, jnp.float32), 2.0) * 4


def test_opposite_translations_undo_each_other():
    shift = jnp.broadcast_to(jnp.asarray([1.5, -0.5, 2.0]), (5, 6, 7, 3))
    assert inverse_consistency(shift, -shift) == 0


def test_a_translation_and_the_identity_miss_by_its_length():
    shift = jnp.broadcast_to(jnp.asarray([1.0, -2.0, 2.0]), (5, 6, 7, 3))
    np.testing.assert_allclose(inverse_consistency(shift, jnp.zeros_like(shift)), 9, rtol=1e-6)
    np.testing.assert_allclose(inverse_consistency(shift, shift), 36, rtol=1e-6)


def test_a_flow_and_its_reverse_are_consistent_the_negated_field_is_not():
    velocity = _velocity()
    forward = exponential(velocity)
    error = inverse_consistency(forward, exponential(-velocity))
    assert error < 0.25 * inverse_consistency(forward, -forward)
    assert error < 0.02 * inverse_consistency(forward, jnp.zeros_like(forward))


def test_gradient_points_to_the_inverse():
    shift = jnp.broadcast_to(jnp.asarray([1.0, 0.0, 0.0]), (5, 6, 7, 3))
    gradient = jax.grad(inverse_consistency, argnums=1)(shift, jnp.zeros_like(shift))
    np.testing.assert_allclose(gradient.sum(axis=(0, 1, 2)), [2, 0, 0], atol=1e-5)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        inverse_consistency(jnp.zeros((4, 4, 4, 3)), jnp.zeros((1, 4, 4, 3)))


def test_both_directions_count():
    forward = exponential(_velocity())
    backward = jnp.roll(forward, 1, axis=-1)
    one_way = (compose(backward, forward) ** 2).sum(-1).mean()
    other_way = (compose(forward, backward) ** 2).sum(-1).mean()
    assert abs(one_way - other_way) > 1e-3 * one_way
    expected = 0.5 * (one_way + other_way)
    np.testing.assert_allclose(inverse_consistency(forward, backward), expected, rtol=1e-5)
