"""Dissimilarity of two images of one contrast: mean squares and local correlation.

Losses, lower is better, of a fixed image and a moving image already warped onto its grid. For
different contrasts see `mutual_information` and `mind`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from drivenmorph_jax.spatial.correlation import squared_correlation
from drivenmorph_jax.spatial.masks import masked_mean, require_same_shape


def mse(
    fixed: Float[Array, "*space c"],
    warped: Float[Array, "*space c"],
    *,
    mask: Bool[Array, "*space"] | None = None,
) -> Float[Array, ""]:
    """Mean of (fixed − warped)² over the mask (or everywhere) and the channels.

    Raises:
      ValueError: the shapes differ.
    """
    require_same_shape("fixed", fixed, "warped", warped)
    fixed, warped = _at_least_float32(fixed, warped)
    return masked_mean((fixed - warped) ** 2, mask).mean()


def lncc(
    fixed: Float[Array, "*space c"],
    warped: Float[Array, "*space c"],
    *,
    window: int = 5,
    mask: Bool[Array, "*space"] | None = None,
    seen: Bool[Array, "*space"] | None = None,
) -> Float[Array, ""]:
    """1 − mean of the squared local correlation: 0 for equal images, 1 for unrelated ones.

    The arguments, and what is raised, are those of `squared_correlation`.
    """
    return 1 - squared_correlation(fixed, warped, window=window, mask=mask, seen=seen)


def _at_least_float32(*images):
    dtype = jnp.promote_types(jnp.result_type(*images), jnp.float32)
    return tuple(image.astype(dtype) for image in images)
