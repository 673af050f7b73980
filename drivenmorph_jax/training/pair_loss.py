"""The loss of a batch of pairs: augment, register, compare."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from drivenmorph_jax.objective.loss import LossConfig, Registered, registration_loss
from drivenmorph_jax.training.accumulation import LossFunction, Metrics
from drivenmorph_jax.training.augment import AugmentConfig, augment_pair

# (params, fixed, moving) -> registration, for one pair of (D, H, W, 1) images.
Register = Callable[[Any, Float[Array, "d h w 1"], Float[Array, "d h w 1"]], Registered]

# (key, example) -> an example with other images.
Synthesise = Callable[[PRNGKeyArray, dict[str, Array]], dict[str, Array]]


def make_pair_loss(
    register: Register,
    loss_cfg: LossConfig,
    augment_cfg: AugmentConfig,
    *,
    label_values: tuple[int, ...] = (),
    synthesise: Synthesise | None = None,
) -> LossFunction:
    """Build the `loss_fn` of `make_step` for batches of `fixed` and `moving`, (B, D, H, W, 1).

    `fixed_labels` and `moving_labels`, (B, D, H, W), are used where the loss needs them. With
    `synthesise` both images are made from these, and what is compared are the subjects' own ones.
    """

    def example_loss(
        params: Any, example: dict[str, Array], key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        example = augment_pair(key, example, augment_cfg)
        if synthesise is not None:
            example = synthesise(jax.random.fold_in(key, 1), example)
        fixed, moving = example["fixed"], example["moving"]
        backward = None
        if loss_cfg.inverse_consistency_weight:
            backward = register(params, moving, fixed).displacement
        return registration_loss(
            register(params, fixed, moving),
            example.get("fixed_original", fixed),
            example.get("moving_original", moving),
            loss_cfg,
            fixed_labels=example.get("fixed_labels"),
            moving_labels=example.get("moving_labels"),
            label_values=label_values,
            backward=backward,
        )

    def batch_loss(
        params: Any, batch: dict[str, Array], keys: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Metrics]:
        if keys.shape[0] == 1:
            # One pair is the usual case on a CPU, where a mapped axis of 1 costs time.
            return example_loss(params, {name: leaf[0] for name, leaf in batch.items()}, keys[0])
        losses = jax.vmap(example_loss, in_axes=(None, 0, 0))(params, batch, keys)
        return jax.tree.map(jnp.mean, losses)

    return batch_loss
