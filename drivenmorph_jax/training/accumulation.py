"""The gradient of a batch's mean loss, worked through in parts where the whole does not fit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Metrics = dict[str, Float[Array, ""]]
# (params, batch, keys) -> (mean loss over the batch, its terms). Every leaf of the batch has a
# leading batch axis; keys holds one key per example.
LossFunction = Callable[[Any, Any, PRNGKeyArray], tuple[Float[Array, ""], Metrics]]
# The same arguments -> ((mean loss, its terms), gradient of the loss by params).
ValueAndGradient = Callable[[Any, Any, PRNGKeyArray], tuple[tuple[Float[Array, ""], Metrics], Any]]


def accumulated_gradient(loss_fn: LossFunction, parts: int) -> ValueAndGradient:
    """`value_and_grad(loss_fn, has_aux=True)`, over `parts` micro-batches of equal size in turn.

    Loss, terms and gradient are means over equal parts, so they are those of the whole batch up to
    rounding, as long as the loss is a mean over examples: 1/B Σ_b l_b = 1/n Σ_i (n/B Σ_{b∈i} l_b).
    Under `lax.scan`: beside the sums, the activations of one part are held at a time.

    Args:
        loss_fn: mean loss of a batch, and its terms.
        parts: must divide the batch.
    """
    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    if parts == 1:
        return gradient

    def accumulate(params: Any, batch: Any, keys: PRNGKeyArray) -> Any:
        micro_batches = jax.tree.map(
            lambda leaf: leaf.reshape(parts, leaf.shape[0] // parts, *leaf.shape[1:]), (batch, keys)
        )

        def add(total: Any, micro_batch: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradient(params, *micro_batch)), None

        like = jax.eval_shape(gradient, params, *jax.tree.map(lambda leaf: leaf[0], micro_batches))
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        total, _ = jax.lax.scan(add, nothing, micro_batches)
        return jax.tree.map(lambda leaf: leaf / parts, total)

    return accumulate
