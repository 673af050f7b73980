"""Soft Dice against counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective.overlap import one_hot, soft_dice


def _labels(seed):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 5, (5, 6, 4)), jnp.int32)


def test_one_hot_marks_the_listed_values_only():
    labels = jnp.asarray([[[0, 7, 3]]], jnp.int32)
    np.testing.assert_array_equal(one_hot(labels, (3, 7))[0, 0], [[0, 0], [0, 1], [1, 0]])


def test_soft_dice_of_label_maps_is_their_dice():
    fixed, warped = _labels(0), _labels(1)
    dice = []
    for value in (1, 2, 4):
        a, b = np.asarray(fixed) == value, np.asarray(warped) == value
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    loss = soft_dice(one_hot(fixed, (1, 2, 4)), one_hot(warped, (1, 2, 4)))
    np.testing.assert_allclose(loss, 1 - np.mean(dice), rtol=1e-6)


def test_equal_maps_cost_nothing_and_disjoint_ones_everything():
    onehot = one_hot(_labels(0), (1, 2))
    assert soft_dice(onehot, onehot) == 0
    assert soft_dice(onehot, onehot[..., ::-1]) == 1


def test_a_label_absent_from_the_fixed_image_does_not_count():
    fixed, warped = _labels(0), jnp.where(_labels(1) == 3, 9, _labels(1))
    with_it = soft_dice(one_hot(fixed, (1, 9)), one_hot(warped, (1, 9)))
    without = soft_dice(one_hot(fixed, (1,)), one_hot(warped, (1,)))
    np.testing.assert_allclose(with_it, without)
    nothing = one_hot(fixed, (20, 21))
    loss, gradient = jax.value_and_grad(soft_dice, argnums=1)(nothing, nothing)
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)


def test_more_overlap_costs_less():
    fixed = one_hot(_labels(0), (1, 2))
    gradient = jax.grad(soft_dice, argnums=1)(fixed, jnp.full_like(fixed, 0.5))
    assert (gradient[fixed == 1] < 0).all()
    assert (gradient[fixed == 0] > 0).all()


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        soft_dice(one_hot(_labels(0), (1, 2)), one_hot(_labels(0), (1,)))
