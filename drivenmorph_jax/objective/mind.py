"""MIND: dissimilarity of images of different contrast, by their local self-similarity."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from drivenmorph_jax.spatial.masks import masked_mean, require_same_shape
from drivenmorph_jax.spatial.mind import mind_descriptor


def mind(
    fixed: Float[Array, "d h w c"],
    warped: Float[Array, "d h w c"],
    *,
    radius: int = 2,
    dilation: int = 2,
    mask: Bool[Array, "d h w"] | None = None,
) -> Float[Array, ""]:
    """Mean squared difference of the MIND-SSC descriptors of two images; 0 for equal ones.

    Args:
      fixed, warped: (D, H, W, C); channels are compared apart, then averaged.
      radius, dilation: see `spatial.mind.mind_descriptor`.
      mask: (D, H, W), where the difference is averaged; None is everywhere.

    Raises:
      ValueError: the shapes differ.
    """
    require_same_shape("fixed", fixed, "warped", warped)
    differences = [
        mind_descriptor(fixed[..., c], radius=radius, dilation=dilation)
        - mind_descriptor(warped[..., c], radius=radius, dilation=dilation)
        for c in range(fixed.shape[-1])
    ]
    return jnp.stack([masked_mean(d**2, mask).mean() for d in differences]).mean()
