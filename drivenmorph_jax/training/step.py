"""One training step as one shard sees it; every way of running it in parallel wraps this one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from drivenmorph_jax.training.accumulation import LossFunction, Metrics, accumulated_gradient
from drivenmorph_jax.training.optimiser import update_average
from drivenmorph_jax.training.state import TrainState

Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]
# (params, batch, keys) -> (metrics, gradient), means over the batch.
GradientFunction = Callable[[Any, Any, PRNGKeyArray], tuple[Metrics, Any]]


def make_step(
    loss_fn: LossFunction,
    optimiser: optax.GradientTransformation,
    *,
    ema_decay: float,
    accumulate: int = 1,
    axis: str | None = None,
    over_shards: Callable[[GradientFunction], GradientFunction] | None = None,
) -> Step:
    """Build `step(state, batch) -> (state, metrics)`.

    Args:
        loss_fn: mean loss of a batch, and its terms.
        optimiser: see `make_optimiser`.
        ema_decay: see `update_average`.
        accumulate: micro-batches that a shard's batch is worked through in; see
            `accumulated_gradient`.
        axis: name of the mapped axis over which shards of the batch are averaged, None for one
            shard. Gradients must be local to the shard (as under pmap) for the mean to be right.
        over_shards: for a step that is given the whole batch: maps the gradient of a shard over
            the shards. None where the step itself is mapped.
    """

    value_and_gradient = accumulated_gradient(loss_fn, accumulate)

    def gradient(params: Any, batch: Any, keys: PRNGKeyArray) -> tuple[Metrics, Any]:
        (loss, terms), gradients = value_and_gradient(params, batch, keys)
        metrics = {"loss": loss, **terms}
        return (metrics, gradients) if axis is None else jax.lax.pmean((metrics, gradients), axis)

    gradient_of_all = gradient if over_shards is None else over_shards(gradient)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        keys = _example_keys(state, batch, axis if over_shards is None else None)
        metrics, gradients = gradient_of_all(state.params, batch, keys)
        updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        metrics["update_norm"] = optax.tree.norm(updates)
        state = TrainState(
            params=params,
            ema_params=update_average(state.ema_params, params, state.step, ema_decay),
            opt_state=opt_state,
            step=state.step + 1,
            key=state.key,
        )
        return state, metrics

    return step


def _example_keys(state: TrainState, batch: Any, axis: str | None) -> PRNGKeyArray:
    """One key per example, from (seed, step, place in the whole batch): the same on any devices."""
    size = jax.tree.leaves(batch)[0].shape[0]
    first = 0 if axis is None else jax.lax.axis_index(axis) * size
    step_key = jax.random.fold_in(state.key, state.step)
    return jax.vmap(lambda place: jax.random.fold_in(step_key, place))(first + jnp.arange(size))
