"""Overlap of label maps as a loss: soft Dice of one-hot encodings."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from drivenmorph_jax.spatial.masks import require_same_shape


def one_hot(
    labels: Int[Array, "*space"],
    label_values: Sequence[int],
    dtype: jnp.dtype | type = jnp.float32,
) -> Float[Array, "*space k"]:
    """Indicator of each label value: (D, H, W) -> (D, H, W, K); other values are all zeros."""
    values = jnp.asarray(tuple(label_values), labels.dtype)
    return (labels[..., None] == values.reshape((1,) * labels.ndim + (-1,))).astype(dtype)


def soft_dice(
    fixed_onehot: Float[Array, "*space k"], warped_onehot: Float[Array, "*space k"]
) -> Float[Array, ""]:
    """1 − mean Dice over the labels present in the fixed image; 0 for equal maps.

        Dice_k = 2 Σ_x a_k b_k / Σ_x (a_k + b_k)

    A label that is absent from the fixed image does not count; with none present the loss is 0.

    Args:
      fixed_onehot: (D, H, W, K), 0 or 1.
      warped_onehot: (D, H, W, K), in [0, 1]: a one-hot map warped linearly.

    Raises:
      ValueError: the shapes differ.
    """
    require_same_shape("fixed_onehot", fixed_onehot, "warped_onehot", warped_onehot)
    axes = tuple(range(fixed_onehot.ndim - 1))
    size_fixed = fixed_onehot.sum(axis=axes)
    present = size_fixed > 0
    size = jnp.where(present, size_fixed + warped_onehot.sum(axis=axes), 1)
    dice = 2 * (fixed_onehot * warped_onehot).sum(axis=axes) / size
    return jnp.where(present, 1 - dice, 0).sum() / jnp.maximum(present.sum(), 1)
