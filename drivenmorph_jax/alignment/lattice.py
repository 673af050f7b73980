"""An image of any shape and affine, reduced to a small blurred lattice of one fixed shape.

The search compiles once because it only ever sees such lattices. Three products with a Gaussian
matrix, one per voxel axis, blur and sample at once; the lattice keeps the image's own axes, so
oblique images need no interpolation here.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# A solid ellipsoid ends 2.24 standard deviations from its centre: this leaves a margin of 16 %.
_REACH = 2.6


class Brain(NamedTuple):
    """Where the voxels other than 0 lie.

    Attributes:
        centre: (3,) centroid in voxels.
        covariance: (3, 3) about it, in voxels squared.
    """

    centre: Float[Array, "3"]
    covariance: Float[Array, "3 3"]


class Lattice(NamedTuple):
    """Blurred samples around the centre of the brain.

    Attributes:
        values: (n, n, n, 2): the intensity, and the share of brain in the neighbourhood.
        axes: (3, 3), one column per lattice axis: the step to the next point, RAS mm.
        centre: (3,) RAS mm, of the lattice's middle.
        radius: () mm, root mean square distance of the brain from its centre.
    """

    values: Float[Array, "n n n 2"]
    axes: Float[Array, "3 3"]
    centre: Float[Array, "3"]
    radius: Float[Array, ""]


def locate_brain(image: Float[Array, "x y z"]) -> Brain:
    """First and second moments of the mask image != 0; of the whole grid where that is empty."""
    mask = (image != 0).astype(image.dtype)
    mask = jnp.where(mask.max() > 0, mask, 1)
    # Sums along one axis first: float32 counts exactly to 2^24 only.
    planes = {(0, 1): mask.sum(2), (0, 2): mask.sum(1), (1, 2): mask.sum(0)}
    rows = [planes[0, 1].sum(1), planes[0, 1].sum(0), planes[0, 2].sum(0)]
    total = rows[0].sum()
    index = [jnp.arange(size, dtype=image.dtype) for size in image.shape]
    centre = jnp.stack([(r / total) @ i for r, i in zip(rows, index, strict=True)])
    offset = [i - c for i, c in zip(index, centre, strict=True)]
    moments = {
        (a, b): offset[a] @ (planes[a, b] / total) @ offset[b] for a, b in ((0, 1), (0, 2), (1, 2))
    }
    for axis in range(3):
        moments[axis, axis] = (rows[axis] / total) @ offset[axis] ** 2
    covariance = [[moments[min(a, b), max(a, b)] for b in range(3)] for a in range(3)]
    return Brain(lax.stop_gradient(centre), lax.stop_gradient(jnp.array(covariance)))


def clip_bright(image: Float[Array, "x y z"]) -> Float[Array, "x y z"]:
    """Cut intensities at three standard deviations above the brain's mean, and scale by it."""
    inside = image != 0
    count = jnp.maximum(inside.sum(), 1)
    mean = image.sum() / count
    spread = jnp.sqrt(jnp.where(inside, (image - mean) ** 2, 0).sum() / count)
    top = lax.stop_gradient(mean + 3 * spread)
    scale = lax.stop_gradient(jnp.maximum(jnp.abs(top), jnp.finfo(image.dtype).tiny))
    return jnp.minimum(image, top) / scale


def lattice(
    image: Float[Array, "x y z"],
    affine: Float[Array, "4 4"],
    brain: Brain,
    size: int,
    *,
    tight: bool,
    resolution: int,
) -> Lattice:
    """Reduce an image to size³ points around its brain.

    Args:
        image: (X, Y, Z), background 0.
        affine: (4, 4), voxel to RAS mm.
        brain: its moments.
        size: points per axis.
        tight: cover the brain's box (a different step per axis), else a cube that holds it in any
            rotation.
        resolution: points that such a cube would have per axis at the wanted blur, whose sigma is
            half their distance; in both kinds of lattice, so that their contents compare.
    """
    voxel = jnp.linalg.norm(affine[:3, :3], axis=0)
    spread = jnp.sqrt(jnp.diagonal(brain.covariance)) * voxel
    world = affine[:3, :3] @ brain.covariance @ affine[:3, :3].T
    radius = jnp.sqrt(jnp.trace(world))
    half = _REACH * spread if tight else jnp.full((3,), 2.0, image.dtype) * radius
    step = 2 * half / size
    cube_step = 4 * radius / resolution
    # The moving lattice is interpolated linearly, which blurs by another step²/6 on average;
    # without the same on the fixed one the scale comes out 0.4 % off.
    sigma = cube_step * jnp.sqrt(1 / 4 + (1 / 6 if tight else 0))
    reduced = [image, (image != 0).astype(image.dtype)]
    for axis, contract in enumerate(("pi,ijk->pjk", "pj,ijk->ipk", "pk,ijk->ijp")):
        points = brain.centre[axis] + (jnp.arange(size) - (size - 1) / 2) * step[axis] / voxel[axis]
        # Below 0.6 voxels the sampled Gaussian no longer sums to one.
        width = jnp.maximum(sigma / voxel[axis], 0.6)
        distance = points[:, None] - jnp.arange(image.shape[axis], dtype=image.dtype)[None, :]
        weights = jnp.exp(-0.5 * (distance / width) ** 2) / (width * jnp.sqrt(2 * jnp.pi))
        weights = weights.astype(image.dtype)
        reduced = [jnp.einsum(contract, weights, part) for part in reduced]
    return Lattice(
        jnp.stack(reduced, axis=-1),
        affine[:3, :3] * (step / voxel)[None, :],
        affine[:3, :3] @ brain.centre + affine[:3, 3],
        radius,
    )
