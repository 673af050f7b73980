"""Regions that a registration is not to compare: lesions, resections, artefacts.

Cost-function masking (Brett et al., NeuroImage 2001): there the force is 0, and the map continues
smoothly from around it. What the images show there still reaches their features nearby: replace it
first by something plausible.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.model.difference import Force
from drivenmorph_jax.spatial.resize import downsample
from drivenmorph_jax.spatial.sampling import warp


class Ignored(NamedTuple):
    """The share of each voxel that is not compared, 0 to 1; more is as 1.

    Coarse voxels have the mean of their fine ones: shares far above 1 reach every coarse voxel that
    touches the region.

    Attributes:
      fixed, moving: (d, h, w, 1), on the grids of their images.
    """

    fixed: Float[Array, "d h w 1"]
    moving: Float[Array, "d h w 1"]


def ignored_pyramid(ignored: Ignored | None, levels: int) -> list[Ignored | None]:
    """The same at every level, finest first; None throughout where nothing is ignored."""
    pyramid = [ignored]
    for _ in range(levels - 1):
        above = pyramid[-1]
        pyramid.append(above and Ignored(*(downsample(share) for share in above)))
    return pyramid


def compared(ignored: Ignored, displacement: Float[Array, "d h w 3"]) -> Float[Array, "d h w 1"]:
    """Share of each voxel of the fixed grid that counts in both images, under a displacement."""
    fixed, moving = jnp.maximum(1 - ignored.fixed, 0), 1 - warp(ignored.moving, displacement)
    return fixed * jnp.maximum(moving, 0)


def mask_force(
    force: Force, ignored: Ignored | None, displacement: Float[Array, "d h w 3"]
) -> Force:
    """The force that channel weights, multiplied by the share that is compared, would give."""
    if ignored is None:
        return force
    share = compared(ignored, displacement)
    return Force(*(share * part for part in force))
