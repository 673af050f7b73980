"""Random affine augmentation of a pair, on the device, as a pure function of a key."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from drivenmorph_jax.spatial.affine import affine_displacement, affine_matrix
from drivenmorph_jax.spatial.sampling import warp


@dataclasses.dataclass(frozen=True)
class AffineRange:
    """Half-widths of uniform draws, one per axis: 0 everywhere is the identity.

    rotation in degrees about each axis, translation in voxels, scale and shear as fractions
    (0.1 draws a factor between 0.9 and 1.1, on a log scale).
    """

    rotation: float = 0.0
    translation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of a training pair.

    `joint` moves both images alike, as if the head lay elsewhere in the scanner; `residual`
    moves the moving image a little more, as an imperfect affine pre-alignment would.
    """

    enabled: bool = True
    joint: AffineRange = AffineRange(rotation=10.0, translation=4.0, scale=0.1, shear=0.05)
    residual: AffineRange = AffineRange(rotation=2.0, translation=1.0, scale=0.02, shear=0.01)


def augment_pair(
    key: PRNGKeyArray, example: dict[str, Any], cfg: AugmentConfig
) -> dict[str, Array]:
    """Move the images of one pair; one interpolation each.

    Args:
        key: the draw of this example.
        example: `fixed`, `moving` (D, H, W, C), sampled linearly; optionally `fixed_labels`,
            `moving_labels` (D, H, W), sampled by nearest neighbour. Other entries pass through.
        cfg: the ranges.
    """
    if not cfg.enabled:
        return example
    joint_key, residual_key = jax.random.split(key)
    shape = example["fixed"].shape[:3]
    joint = random_affine(joint_key, shape, cfg.joint)
    matrices = {"fixed": joint, "moving": random_affine(residual_key, shape, cfg.residual) @ joint}
    result = dict(example)
    for name, matrix in matrices.items():
        displacement = affine_displacement(matrix, shape)
        result[name] = warp(example[name], displacement)
        labels = example.get(f"{name}_labels")
        if labels is not None:
            result[f"{name}_labels"] = warp(labels[..., None], displacement, order=0)[..., 0]
    return result


def random_affine(
    key: PRNGKeyArray, shape: Sequence[int], limits: AffineRange
) -> Float[Array, "4 4"]:
    """A voxel-to-voxel matrix about the centre of a grid of this shape, uniform in its ranges."""
    draws = jax.random.uniform(key, (4, 3), minval=-1.0, maxval=1.0)
    moved = affine_matrix(
        limits.translation * draws[0],
        math.radians(limits.rotation) * draws[1],
        math.log1p(limits.scale) * draws[2],
        limits.shear * draws[3],
    )
    centre = (jnp.asarray(shape, moved.dtype) - 1) / 2
    to_centre = jnp.eye(4, dtype=moved.dtype).at[:3, 3].set(-centre)
    back = jnp.eye(4, dtype=moved.dtype).at[:3, 3].set(centre)
    return back @ moved @ to_centre
