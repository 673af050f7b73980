"""Images as their differences are looked at: scaled alike, and moved."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.spatial.sampling import warp


def scaled(image: Float[ndarray, "d h w"]) -> Float[ndarray, "d h w"]:
    """Mean square 1 inside the brain, as the registration sees it."""
    inside = image[image != 0]
    return image / np.sqrt(np.mean(inside**2)) if inside.size else image


def warped(
    image: Float[ndarray, "d h w"], displacement: Float[ndarray, "d h w 3"]
) -> Float[ndarray, "d h w"]:
    """The image through a displacement in voxels, linearly."""
    return np.asarray(warp(jnp.asarray(image[..., None]), jnp.asarray(displacement)))[..., 0]
