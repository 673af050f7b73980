"""The transform that the search moves: y − c_M = L·(x − c_F) + t, about the brains' centres.

A step multiplies L from the right by exp(Σ δ_k G_k): no angle has a singularity, a rigid pose stays
rigid, and the derivative at δ = 0 is linear in the nine generators G_k.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Kind = Literal["translation", "rigid", "affine"]


class Pose(NamedTuple):
    """Linear part (3, 3) and translation (3,) in mm, between coordinates about the centres."""

    linear: Float[Array, "3 3"]
    translation: Float[Array, "3"]


def _generators() -> np.ndarray:
    """(9, 3, 3): rotations about x, y, z; scales; shears (symmetric)."""
    unit = np.eye(9).reshape(3, 3, 3, 3)
    pairs = ((1, 2), (2, 0), (0, 1))
    rotations = [unit[b, a] - unit[a, b] for a, b in pairs]
    scales = [unit[a, a] for a in range(3)]
    shears = [unit[a, b] + unit[b, a] for a, b in pairs]
    return np.stack(rotations + scales + shears)


GENERATORS = _generators()


def active(kind: Kind) -> np.ndarray:
    """(12,) which of translation (3), rotation (3), scale (3) and shear (3) are free, as 0 or 1."""
    free = {"translation": 3, "rigid": 6, "affine": 12}
    if kind not in free:
        raise ValueError(f"kind must be one of {', '.join(free)}, not {kind!r}")
    return (np.arange(12) < free[kind]).astype(np.float32)


def move(pose: Pose, step: Float[Array, "12"], radius: Float[Array, ""]) -> Pose:
    """The pose after a step in mm: of the centre, and of points at `radius` from it."""
    flat = jnp.asarray(GENERATORS.reshape(9, 9), step.dtype)
    exponent = ((step[3:] / radius) @ flat).reshape(3, 3)
    return Pose(pose.linear @ exponential(exponent), pose.translation + step[:3])


def exponential(matrix: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """Matrix exponential of a small (3, 3): a sixth-order series of matrix/16, squared four times.

    Good to float32 for norms up to 4, and far cheaper to compile than the general one.
    """
    scaled = matrix / 16
    identity = jnp.eye(3, dtype=matrix.dtype)
    total = identity
    for order in range(6, 0, -1):
        total = identity + scaled @ total / order
    for _ in range(4):
        total = total @ total
    return total


def world_matrix(
    pose: Pose, fixed_centre: Float[Array, "3"], moving_centre: Float[Array, "3"]
) -> Float[Array, "4 4"]:
    """The pose as a matrix (4, 4) from fixed-world to moving-world RAS mm."""
    offset = moving_centre + pose.translation - pose.linear @ fixed_centre
    top = jnp.concatenate([pose.linear, offset[:, None]], axis=1)
    return jnp.concatenate([top, jnp.array([[0, 0, 0, 1]], top.dtype)])
