"""Training images for the anatomy: real ones, moved, deformed and degraded at random."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from drivenmorph_jax.spatial.affine import affine_displacement
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.training.augment import AffineRange, random_affine


@dataclasses.dataclass(frozen=True)
class AnatomyImageConfig:
    """What is done to an image at most; lengths in voxels.

    Attributes:
      affine: ranges of the random affine.
      deformation: deviation of the displacement, drawn at every twelfth voxel or so.
      gamma: deviation of the logarithm of the exponent that intensities are raised to.
      bias: deviation of the logarithm of the shading, drawn on 3³ nodes.
      blur: width of the Gaussian, in half of the images.
      noise: deviation, where the brain's mean square is 1.
      strip: what is darker than this share of it is cut off, as a skull-stripping may cut off
        fluid, in half of the images.
    """

    affine: AffineRange = dataclasses.field(
        default_factory=lambda: AffineRange(rotation=15.0, translation=4.0, scale=0.15, shear=0.06)
    )
    deformation: float = 2.2
    gamma: float = 0.3
    bias: float = 0.2
    blur: float = 0.8
    noise: float = 0.08
    strip: float = 0.5


def anatomy_image(
    key: PRNGKeyArray,
    image: Float[Array, "d h w"],
    structures: Int[Array, "d h w"],
    count: int,
    cfg: AnatomyImageConfig,
) -> tuple[Float[Array, "d h w 1"], Float[Array, "d h w s1"], Float[Array, "d h w 1"]]:
    """An image made of another, the shares of its structures (the background first), its brain.

    Image and shares are interpolated once, linearly; half of the images are mirrored.

    Args:
      key: the draw.
      image: background exactly 0.
      structures: 0 to `count`.
      count: of structures.
      cfg: the ranges.
    """
    keys = iter(jax.random.split(key, 12))
    shape = image.shape
    both = jnp.concatenate([image[..., None], jax.nn.one_hot(structures, 1 + count)], axis=-1)
    both = jnp.where(jax.random.bernoulli(next(keys)), both[::-1], both)
    displacement = affine_displacement(random_affine(next(keys), shape, cfg.affine), shape)
    nodes = jax.random.normal(next(keys), (*(1 + n // 12 for n in shape), 3))
    nodes = nodes * jax.random.uniform(next(keys), maxval=cfg.deformation)
    both = warp(both, displacement + jax.image.resize(nodes, (*shape, 3), "cubic"))
    image, shares = both[..., :1], both[..., 1:]
    beyond = 1 - shares.sum(-1, keepdims=True)
    shares = jnp.concatenate([shares[..., :1] + beyond, shares[..., 1:]], axis=-1)

    brain = image > 0
    image = image * jax.lax.rsqrt((image**2).sum() / jnp.maximum(brain.sum(), 1) + 1e-12)
    exponent = jnp.exp(cfg.gamma * jax.random.normal(next(keys)))
    image = jnp.where(brain, jnp.maximum(image, 1e-6) ** exponent, 0)
    shading = jax.image.resize(jax.random.normal(next(keys), (3, 3, 3, 1)), image.shape, "cubic")
    image = image * jnp.exp(cfg.bias * jax.random.uniform(next(keys)) * shading)
    width = jax.random.uniform(next(keys), maxval=cfg.blur) * jax.random.bernoulli(next(keys))
    image = gaussian_smooth(image, width)
    deviation = cfg.noise * jax.random.uniform(next(keys))
    image = image + deviation * jax.random.normal(next(keys), image.shape)
    darkest = jax.random.uniform(next(keys), minval=-cfg.strip, maxval=cfg.strip)
    brain = brain & (image > jnp.maximum(darkest, 1e-3))
    return jnp.where(brain, image, 0), shares, brain.astype(image.dtype)
