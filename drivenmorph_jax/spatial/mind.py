"""MIND: a descriptor of local self-similarity, much the same in images of different contrast."""

import itertools
from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from drivenmorph_jax.spatial.filters import box_mean
from drivenmorph_jax.spatial.split import stencil

# The six face neighbours, and the twelve pairs of them that are √2 apart (opposite ones are left
# out, and so is the centre voxel: its noise would enter every channel).
_NEIGHBOURS = tuple(
    tuple(sign if axis == a else 0 for a in range(3)) for axis in range(3) for sign in (-1, 1)
)
_PAIRS = tuple((i, j) for i, j in itertools.combinations(range(6), 2) if i // 2 != j // 2)


def mind_descriptor(
    image: Float[Array, "d h w"],
    *,
    radius: int = 2,
    dilation: int = 2,
    beyond: Literal["zero", "edge"] = "edge",
    mask: Bool[Array, "d h w"] | None = None,
) -> Float[Array, "d h w 12"]:
    """Self-similarity context of every voxel (Heinrich et al., MICCAI 2013).

        D_ij(x) = mean over a patch of (I(x + n_i) − I(x + n_j))²,  MIND_ij = exp(−(D_ij − min D)/V)

    for the twelve pairs of face neighbours n_i, n_j that are √2·dilation apart; V(x) is the mean
    of D − min D over the pairs, held within 1e-3 and 1e3 times its mean over the mask. Affine
    changes of intensity, a change of sign included, leave the descriptor as it is.

    Args:
      image: (D, H, W), one channel.
      radius: patches are cubes of 2·radius + 1 voxels.
      dilation: distance of the neighbours, in voxels.
      beyond: what the image is beyond the grid: 0, or its edge value.
      mask: (D, H, W); None is everywhere.

    Returns:
      (D, H, W, 12), in (0, 1]; 1 throughout where the image is constant.
    """
    image = image.astype(jnp.promote_types(image.dtype, jnp.float32))
    distance = stencil(
        lambda image: _patch_distances(image[..., 0], radius, dilation, beyond),
        dilation + radius,
        [image[..., None]],
        beyond=beyond,
    )
    distance = distance - distance.min(axis=-1, keepdims=True)
    variance = distance.mean(axis=-1, keepdims=True)
    typical = variance.mean() if mask is None else _mean_where(mask, variance)
    # Relative to the image alone, the floor would be 0 where all of it is constant.
    floor = jnp.finfo(image.dtype).eps ** 2
    variance = jnp.clip(variance, 1e-3 * typical, 1e3 * typical) + floor
    return jnp.exp(-distance / variance)


def _mean_where(mask, values):
    return jnp.where(mask[..., None], values, 0).sum() / jnp.maximum(mask.sum(), 1)


def _patch_distances(image, radius: int, dilation: int, beyond: str):
    """D_ij, (D, H, W, 12)."""
    # Padded by the patch as well, so that no patch reaches beyond what is there.
    padded = jnp.pad(image, dilation + radius, mode="edge" if beyond == "edge" else "constant")
    shifted = []
    for step in _NEIGHBOURS:
        first = [dilation * (1 + s) for s in step]
        last = [f + n + 2 * radius for f, n in zip(first, image.shape, strict=True)]
        shifted.append(lax.slice(padded, first, last))
    squares = jnp.stack([(shifted[i] - shifted[j]) ** 2 for i, j in _PAIRS], axis=-1)
    distance = box_mean(squares, 2 * radius + 1)
    return distance[tuple(slice(radius, radius + n) for n in image.shape)]
