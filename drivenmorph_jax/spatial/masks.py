"""Where images are compared: shape guards, brain masks and masked means."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num


def require_same_shape(
    name_a: str, a: Num[Array, "..."], name_b: str, b: Num[Array, "..."]
) -> None:
    """Raise ValueError where two arrays differ in shape: broadcasting would hide the mistake."""
    if a.shape != b.shape:
        raise ValueError(f"{name_a} and {name_b} must have one shape, got {a.shape} and {b.shape}")


def brain_mask(
    fixed: Float[Array, "*space c"], warped: Float[Array, "*space c"]
) -> Bool[Array, "*space"]:
    """Voxels that belong to either brain, the background being exactly 0.

    The union, so that tissue pushed out of the fixed brain is still compared. Padding the images
    with background leaves it, and every mean over it, as it was.
    """
    return jnp.any((fixed != 0) | (warped != 0), axis=-1)


def masked_mean(
    values: Float[Array, "*space c"], mask: Num[Array, "*space"] | Bool[Array, "*space"] | None
) -> Float[Array, " c"]:
    """Mean over the spatial axes, of each channel; 0 where the mask is empty.

    Args:
      values: (D, H, W, C).
      mask: (D, H, W) boolean or non-negative weights; None is everywhere.
    """
    axes = tuple(range(values.ndim - 1))
    if mask is None:
        return values.mean(axis=axes)
    if mask.shape != values.shape[:-1]:
        raise ValueError(f"mask {mask.shape} does not cover an image of {values.shape[:-1]}")
    weight = mask.astype(values.dtype)
    total = weight.sum()
    mean = (values * weight[..., None]).sum(axis=axes) / jnp.where(total > 0, total, 1)
    return mean
