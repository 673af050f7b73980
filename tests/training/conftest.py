"""A model small enough to train in milliseconds, and batches whose place is known."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.state import TrainState, create_state

OPTIMISER = OptimiserConfig(learning_rate=0.1, warmup_steps=2)


def loss_fn(params, batch, keys):
    """Mean square of a noisy linear map: every example draws its own noise."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    error = (batch["x"] + 0.1 * noise) @ params["w"] + params["b"][None] - batch["y"]
    loss = jnp.mean(error**2)
    return loss, {"error": loss}


def new_state(steps: int = 6) -> TrainState:
    params = {"w": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones(2)}
    return create_state(jax.random.key(7), params, make_optimiser(OPTIMISER, steps))


class Batches:
    """Batch n depends on n alone."""

    def __init__(self, size: int = 8, position: int = 0) -> None:
        self.size, self.position = size, position

    def __next__(self):
        rng = np.random.default_rng(self.position)
        self.position += 1
        return {
            "x": rng.normal(size=(self.size, 3)).astype(np.float32),
            "y": rng.normal(size=(self.size, 2)).astype(np.float32),
        }

    def get_state(self):
        return {"position": self.position}


def assert_trees_equal(first, second) -> None:
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.fixture
def tiny() -> types.SimpleNamespace:
    """The above, for the tests of this folder."""
    return types.SimpleNamespace(
        OPTIMISER=OPTIMISER,
        loss_fn=loss_fn,
        new_state=new_state,
        Batches=Batches,
        assert_trees_equal=assert_trees_equal,
    )
