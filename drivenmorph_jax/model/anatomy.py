"""Naming the anatomy: an image in, for each voxel the probability of every structure out.

What differs between two brains in these probabilities is a difference of anatomy and of nothing
else: no shading, no noise, no brightness of one person's tissue. Both sides of the brain share
their structures. As in the encoder, every statistic is taken over the brain alone, so that the
empty background does not matter.
"""

from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.model.ignored import Ignored, compared
from drivenmorph_jax.model.seen import brain_pyramid, normalise
from drivenmorph_jax.spatial.convolution import conv_general_dilated
from drivenmorph_jax.spatial.resize import downsample, resize_image
from drivenmorph_jax.spatial.sampling import warp

Precision = Literal["float32", "bfloat16"]
_SLOPE = 0.1  # of the activation below 0.


class Named(NamedTuple):
    """The structures of both images: probabilities (d, h, w, S), 0 in the background."""

    fixed: Float[Array, "d h w s"]
    moving: Float[Array, "d h w s"]


def init_anatomy(key: jax.Array, cfg: AnatomyConfig) -> dict[str, Any]:
    """Random parameters; they fit images of any size."""
    image = jnp.ones((2 ** len(cfg.channels),) * 3 + (1,), jnp.float32)
    return cast(dict[str, Any], Anatomy(cfg).init(key, image)["params"])


def structure_logits(
    params, image: Float[Array, "d h w 1"], cfg: AnatomyConfig, *, precision: Precision = "float32"
) -> Float[Array, "d h w s1"]:
    """Logits of the background, first, and of every structure.

    Args:
      params: from `init_anatomy`, the "anatomy" subtree of a network's parameters.
      image: brain-extracted, background exactly 0; any intensity scale.
      cfg: the architecture.
      precision: of the convolutions.
    """
    return cast(Array, Anatomy(cfg, precision).apply({"params": params}, image))


def name_structures(
    params, image: Float[Array, "d h w 1"], cfg: AnatomyConfig, *, precision: Precision = "float32"
) -> Float[Array, "d h w s"]:
    """Probability of every structure, the background left out; the arguments of
    `structure_logits`."""
    logits = structure_logits(params, image, cfg, precision=precision)
    return (jax.nn.softmax(logits) * (image != 0))[..., 1:]


def anatomy_force(
    named: Named,
    displacement: Float[Array, "d h w 3"],
    *,
    ignored: Ignored | None = None,
) -> Float[Array, "d h w 3"]:
    """f = −∂(Σ |p_F − p_M∘φ|²)/∂u = 2 Jᵀr: where to each voxel would move for structures to meet.

    The driving force of features c = p with no weights, J being the exact slope of the interpolated
    probabilities.

    Args:
      named: on one grid.
      displacement: u, its voxels.
      ignored: where the images are not to be compared.

    Returns:
      Per voxel of displacement.
    """

    def difference(u):
        squared = ((named.fixed - warp(named.moving, u)) ** 2).sum(-1, keepdims=True)
        if ignored is not None:
            squared = squared * compared(ignored, jax.lax.stop_gradient(u))
        return squared.sum()

    return -jax.grad(difference)(displacement)


class Anatomy(nn.Module):
    """A U-Net; see `structure_logits`."""

    cfg: AnatomyConfig
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "d h w 1"]) -> Float[Array, "d h w s1"]:
        channels = self.cfg.channels
        images, masks = brain_pyramid(image, len(channels))
        x, skipped = images[0], []
        for level, (mask, width) in enumerate(zip(masks, channels, strict=True)):
            x = downsample(x) if level else x
            x = self._block(x, mask, width, f"down{level}_a")
            x = self._block(x, mask, width, f"down{level}_b")
            skipped.append(x)
        for level in reversed(range(len(channels) - 1)):
            width, mask = channels[level], masks[level]
            x = nn.Dense(width, name=f"lateral{level}")(x)
            x = skipped[level] + resize_image(x, mask.shape[:3], factor=2.0) * mask
            x = self._block(x, mask, width, f"up{level}")
        return nn.Dense(1 + self.cfg.structures, name="structures")(x)

    def _block(self, x, mask, width: int, name: str):
        x = nn.Conv(
            width,
            (3, 3, 3),
            use_bias=False,
            name=name,
            dtype=jnp.bfloat16 if self.precision == "bfloat16" else None,
            conv_general_dilated=conv_general_dilated,
        )(x).astype(mask.dtype)
        scale = self.param(f"{name}_scale", nn.initializers.ones_init(), (width,))
        shift = self.param(f"{name}_shift", nn.initializers.zeros_init(), (width,))
        scale, shift = (jnp.expand_dims(values, (0, 1, 2)) for values in (scale, shift))
        return nn.leaky_relu(normalise(x, mask) * scale + shift, _SLOPE) * mask
