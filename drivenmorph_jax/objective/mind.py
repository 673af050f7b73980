"""MIND: dissimilarity of images of different contrast, by their local self-similarity."""

import itertools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from drivenmorph_jax.objective.masks import masked_mean, require_same_shape
from drivenmorph_jax.spatial.filters import box_mean
from drivenmorph_jax.spatial.split import stencil

# The six face neighbours, and the twelve pairs of them that are √2 apart (opposite ones are left
# out, and so is the centre voxel: its noise would enter every channel).
_NEIGHBOURS = tuple(
    tuple(sign if axis == a else 0 for a in range(3)) for axis in range(3) for sign in (-1, 1)
)
_PAIRS = tuple((i, j) for i, j in itertools.combinations(range(6), 2) if i // 2 != j // 2)


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
      radius, dilation: see `mind_descriptor`.
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


def mind_descriptor(
    image: Float[Array, "d h w"], *, radius: int = 2, dilation: int = 2
) -> Float[Array, "d h w 12"]:
    """Self-similarity context of every voxel (Heinrich et al., MICCAI 2013).

        D_ij(x) = mean over a patch of (I(x + n_i) − I(x + n_j))²,  MIND_ij = exp(−(D_ij − min D)/V)

    for the twelve pairs of face neighbours n_i, n_j that are √2·dilation apart; V(x) is the mean
    of D − min D over the pairs, held within 1e-3 and 1e3 times its mean over the image. Affine
    changes of intensity, a change of sign included, leave the descriptor as it is.

    Args:
      image: (D, H, W), one channel. Beyond the grid it keeps its edge value.
      radius: patches are cubes of 2·radius + 1 voxels.
      dilation: distance of the neighbours, in voxels.

    Returns:
      (D, H, W, 12), in (0, 1]; 1 throughout where the image is constant.
    """
    image = image.astype(jnp.promote_types(image.dtype, jnp.float32))
    distance = stencil(
        lambda image: _patch_distances(image[..., 0], radius, dilation),
        dilation + radius,
        [image[..., None]],
        beyond="edge",
    )
    distance = distance - distance.min(axis=-1, keepdims=True)
    variance = distance.mean(axis=-1, keepdims=True)
    typical = variance.mean()
    # Relative to the image alone, the floor would be 0 where all of it is constant.
    floor = jnp.finfo(image.dtype).eps ** 2
    variance = jnp.clip(variance, 1e-3 * typical, 1e3 * typical) + floor
    return jnp.exp(-distance / variance)


def _patch_distances(image, radius: int, dilation: int):
    """D_ij, (D, H, W, 12)."""
    # Padded by the patch as well, so that no patch reaches beyond what is there.
    padded = jnp.pad(image, dilation + radius, mode="edge")
    shifted = []
    for step in _NEIGHBOURS:
        first = [dilation * (1 + s) for s in step]
        last = [f + n + 2 * radius for f, n in zip(first, image.shape, strict=True)]
        shifted.append(lax.slice(padded, first, last))
    squares = jnp.stack([(shifted[i] - shifted[j]) ** 2 for i, j in _PAIRS], axis=-1)
    distance = box_mean(squares, 2 * radius + 1)
    return distance[tuple(slice(radius, radius + n) for n in image.shape)]
