"""The whole of what training carries from one step to the next, as one pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray


class TrainState(NamedTuple):
    """Parameters, their moving average, the optimiser's state, the step and the root key.

    `step` counts finished updates. `key` never changes: what is random in a step is drawn from
    `fold_in(key, step)`, so a resumed run draws what the uninterrupted one would have drawn.
    """

    params: Any
    ema_params: Any
    opt_state: optax.OptState
    step: Int[Array, ""]
    key: PRNGKeyArray


def create_state(
    key: PRNGKeyArray, params: Any, optimiser: optax.GradientTransformation
) -> TrainState:
    """The state before the first step.

    Leaves are made strongly typed: a weakly typed one (a Python float) would change its type in
    the first update and compile the step twice.
    """
    params = jax.tree.map(strong_type, params)
    return TrainState(
        params=params,
        # A copy, since the state is donated: one buffer cannot be given away twice.
        ema_params=jax.tree.map(jnp.copy, params),
        opt_state=jax.tree.map(strong_type, optimiser.init(params)),
        step=jnp.zeros((), jnp.int32),
        key=key,
    )


def strong_type(leaf: Any) -> Array:
    """The leaf as an array of its own dtype that no longer counts as weakly typed."""
    array = jnp.asarray(leaf)
    return jax.lax.convert_element_type(array, array.dtype)
