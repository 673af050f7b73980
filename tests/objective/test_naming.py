"""Cross-entropy and Dice of named structures, against closed forms."""

import jax.numpy as jnp
import numpy as np

from drivenmorph_jax.objective.naming import naming
from drivenmorph_jax.objective.overlap import one_hot

SHAPE = (6, 6, 6)
LABELS = np.random.default_rng(0).integers(0, 3, SHAPE)
SHARES = one_hot(jnp.asarray(LABELS), (0, 1, 2))
BRAIN = jnp.ones((*SHAPE, 1))


def test_what_is_certain_and_right_costs_nothing():
    found = naming(50 * SHARES, SHARES, BRAIN)
    np.testing.assert_allclose(found.cross_entropy, 0, atol=1e-6)
    np.testing.assert_allclose(found.dice, 1, atol=1e-4)


def test_knowing_nothing():
    found = naming(jnp.zeros_like(SHARES), SHARES, BRAIN)
    np.testing.assert_allclose(found.cross_entropy, np.log(3), rtol=1e-5)
    sizes = np.bincount(LABELS.ravel())[1:]
    expected = 2 * sizes / 3 / (LABELS.size / 9 + sizes)
    np.testing.assert_allclose(found.dice, expected.mean(), rtol=1e-4)


def test_what_lies_outside_the_brain_and_what_is_hardly_there_do_not_count():
    brain = BRAIN.at[:3].set(0)
    wrong = jnp.where(brain > 0, 50 * SHARES, -50 * SHARES)
    np.testing.assert_allclose(naming(wrong, SHARES, brain).cross_entropy, 0, atol=1e-6)
    np.testing.assert_allclose(naming(wrong, SHARES, brain).dice, 1, atol=1e-4)
    few = jnp.zeros(SHAPE, jnp.int32).at[0, 0, :5].set(1).at[3:].set(2)
    shares = one_hot(few, (0, 1, 2))
    missed = 50 * shares.at[..., 1].set(0)
    np.testing.assert_allclose(naming(missed, shares, BRAIN).dice, 1, atol=5e-3)
