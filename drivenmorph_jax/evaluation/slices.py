"""Small grey pictures of a registered pair: the middle slices in three planes, side by side."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from numpy import ndarray

from drivenmorph_jax.evaluation.explain import level_of
from drivenmorph_jax.evaluation.scaling import scaled
from drivenmorph_jax.model.result import Registration
from drivenmorph_jax.spatial.resize import resize_image

Picture = UInt8[ndarray, "h w"]
_GAP = 2  # pixels between two planes
_GRID_LINES = 12  # across the longest axis


def draw_slices(
    fixed: Float[ndarray, "d h w 1"],
    moving: Float[ndarray, "d h w 1"],
    warped: Float[ndarray, "d h w 1"],
    displacement: Float[ndarray, "d h w 3"],
    force: Float[ndarray, "d h w 3"],
) -> dict[str, Picture]:
    """Axial, coronal and sagittal slice through the middle of the fixed brain, a pixel a voxel.

    Args:
        fixed, moving, warped: axes right, anterior, superior; background 0.
        displacement: voxels.
        force: see `summed_force`.

    Returns:
        `fixed`, `moving`, `warped` (white is twice the brain's RMS), `difference` (of fixed and
        warped, white is the RMS), `grid` (where a grid in the moving image comes to lie), `force`
        (its magnitude, white is the 99.5th percentile in the brain).
    """
    brain = fixed[..., 0] != 0
    bright = [scaled(image[..., 0]) for image in (fixed, moving, warped)]
    size = np.linalg.norm(force, axis=-1)
    brightest = np.percentile(size[brain], 99.5) if brain.any() else 0.0
    volumes = {
        "fixed": bright[0] / 2,
        "moving": bright[1] / 2,
        "warped": bright[2] / 2,
        "difference": np.abs(bright[2] - bright[0]),
        "force": size / brightest if brightest > 0 else np.zeros_like(size),
    }
    place = _middle(brain)
    pictures = {
        name: _side_by_side([_slice(volume, axis, place) for axis in (2, 1, 0)])
        for name, volume in volumes.items()
    }
    pictures["grid"] = _side_by_side([_grid(displacement, axis, place) for axis in (2, 1, 0)])
    return pictures


def summed_force(
    registration: Registration, shape: Sequence[int], spacing: Sequence[float] = (1.0, 1.0, 1.0)
) -> Float[Array, "d h w 3"]:
    """The sum of all driving forces of all levels on the full grid, feature² per mm.

    A force counts per voxel of its level, as a covector does: per mm it is divided by the voxel.

    Args:
        registration: of one pair.
        shape: of the full grid.
        spacing: mm per voxel; ones give the force per voxel of the full grid.
    """
    total = jnp.zeros((*shape, 3))
    for step in registration.levels:
        force = step.driving_force.sum(0)
        level = level_of(force.shape[:3], shape)
        per_mm = force / (2**level * jnp.asarray(spacing, force.dtype))[None, None, None]
        total += resize_image(per_mm, shape, factor=2.0**level)
    return total


def _middle(brain: ndarray) -> tuple[int, int, int]:
    """Centre of the brain's bounding box."""
    occupied = np.argwhere(brain)
    if not len(occupied):
        occupied = np.array([[0, 0, 0], brain.shape])
    x, y, z = (occupied.min(0) + occupied.max(0)) // 2
    return int(x), int(y), int(z)


def _slice(volume: ndarray, axis: int, place: tuple[int, int, int]) -> ndarray:
    """A plane with its second axis upward."""
    return np.take(volume, place[axis], axis).T[::-1]


def _grid(displacement: ndarray, axis: int, place: tuple[int, int, int]) -> ndarray:
    """Lines of constant x + u(x), about a pixel wide: along them a voxel's source is on a line."""
    spacing = max(4, round(max(displacement.shape[:3]) / _GRID_LINES))
    coordinates = np.indices(displacement.shape[:3], np.float32, sparse=True)
    white = np.zeros(_slice(displacement[..., 0], axis, place).shape)
    for other in (n for n in range(3) if n != axis):
        source = _slice(coordinates[other] + displacement[..., other], axis, place)
        distance = np.abs((source + spacing / 2) % spacing - spacing / 2)
        white = np.maximum(white, 1 - distance)
    return white


def _side_by_side(planes: Sequence[ndarray]) -> Picture:
    """The planes on black, all standing on one line; values 0 to 1 become 0 to 255."""
    height = max(plane.shape[0] for plane in planes)
    padded = [np.pad(p, ((height - p.shape[0], 0), (0, _GAP))) for p in planes]
    return (255 * np.clip(np.concatenate(padded, 1), 0, 1)).astype(np.uint8)
