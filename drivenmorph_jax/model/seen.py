"""What the network, or classical Demons, is given of an image at every level.

The intensity as it is; its detail, in which only what is local counts; or its self-similarity, much
the same in images of different contrast. Each knows the brain alone, not the empty space around it.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import Sees
from drivenmorph_jax.spatial.filters import box_mean
from drivenmorph_jax.spatial.mind import mind_descriptor
from drivenmorph_jax.spatial.resize import downsample
from drivenmorph_jax.spatial.split import as_slabs

# Of a level's detail: voxels; the deviation below which a window is flat, where the brain's mean
# square is 1; and a size as that of the contrast between tissues.
_WINDOW, _FLAT, _CONTRAST = 9, 0.1, 0.3


def seen_pyramid(image: Float[Array, "d h w c"], levels: int, sees: Sees):
    """What is seen of an image, and the brain mask, of every level, finest first.

    Args:
      image: (D, H, W, C), background exactly 0, any intensity scale; C is 1 for "mind".
      levels: how many, each of half the resolution.
      sees: what: see `ModelConfig.sees`.
    """
    images, masks = brain_pyramid(image, levels)
    if sees == "intensity":
        return images, masks
    see = detail if sees == "detail" else self_similarity
    return [see(*both) for both in zip(images, masks, strict=True)], masks


def brain_pyramid(image: Float[Array, "d h w c"], levels: int):
    """Image, scaled to mean square 1 inside the brain, and brain mask, of every level.

    The scale alone is normalised: the background stays at 0, below all tissue, so the brain's own
    edge keeps its contrast. Integers and half precision are raised to float32.
    """
    image = as_slabs(image.astype(jnp.promote_types(image.dtype, jnp.float32)))
    mask = lax.stop_gradient((image != 0).astype(image.dtype))
    masks = [mask]
    for _ in range(levels - 1):
        masks.append((downsample(masks[-1]) > 0).astype(image.dtype))
    power = (image**2).sum() / jnp.maximum(mask.sum(), 1)
    images = [image * lax.rsqrt(power + 1e-12)]
    for _ in range(levels - 1):
        images.append(downsample(images[-1]))
    return images, masks


def normalise(features, mask):
    """Zero mean and unit variance per channel over the mask; 0 outside it."""
    axes = (0, 1, 2)
    count = jnp.maximum(mask.sum(), 1)
    mean = (features * mask).sum(axes, keepdims=True) / count
    centred = (features - mean) * mask
    variance = (centred**2).sum(axes, keepdims=True) / count
    return centred * lax.rsqrt(variance + 1e-6)


def detail(
    image: Float[Array, "d h w c"], mask: Float[Array, "d h w #c"]
) -> Float[Array, "d h w c"]:
    """A level's image less its local mean, over its local deviation; 0 outside the brain.

    Squared differences of it are what local correlation is made of: in a window of n voxels, with
    deviations of 1, Σ(F̂ − M̂)² = 2n(1 − cc). A force of plain intensities follows the scanner's
    shading, and tissue that differs in brightness between people, as if these were anatomy.
    """
    mean = box_mean(image, _WINDOW)
    variance = jnp.maximum(box_mean(image**2, _WINDOW) - mean**2, 0)
    return _CONTRAST * (image - mean) * lax.rsqrt(variance + _FLAT**2) * mask


def self_similarity(
    image: Float[Array, "d h w 1"], mask: Float[Array, "d h w 1"]
) -> Float[Array, "d h w 12"]:
    """MIND of a level's image, over the level's own neighbours, in the brain."""
    brain = mask[..., 0] > 0
    found = mind_descriptor(image[..., 0], radius=1, dilation=1, beyond="zero", mask=brain)
    return normalise(found, mask)
