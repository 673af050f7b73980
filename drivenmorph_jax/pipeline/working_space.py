"""The common grid on which a pair is registered: along R, A, S, at the network's resolution."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Volume, working_grid
from drivenmorph_jax.images.brain_on_grid import brain_on_grid

# The grid grows by this many voxels, so that few shapes, and few compilations, serve all brains.
SHAPE_STEP = 16
# The coarsest level of the pyramid still has a few voxels of such a brain.
_FEWEST_VOXELS = 12
# 512 mm at 2 mm: more is stray voxels, and would exhaust the memory.
_MOST_VOXELS = 256

Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]


class WorkingPair(NamedTuple):
    """Both brains on one grid.

    Attributes:
        grid: along R, A, S, around the fixed brain.
        fixed: (D, H, W) float32, 0 outside the brain, bright tissue near 1.
        moving: the same, after the affine.
    """

    grid: Grid
    fixed: Float[ndarray, "d h w"]
    moving: Float[ndarray, "d h w"]


def choose_grid(fixed: Volume, *, spacing: Spacing | None, least_shape: Shape | None) -> Grid:
    """The working grid of a fixed image.

    Args:
        fixed: with axes R, A, S (`canonical`).
        spacing: mm; None is the image's own.
        least_shape: the grid's shape where the brain fits into it; it grows in steps of 16 where
            not. None is the smallest multiple of 16.

    Raises:
        InputError: the brain is too small or too large for this spacing.
    """
    steps = np.asarray(fixed.spacing if spacing is None else spacing, np.float64)
    step = (float(steps[0]), float(steps[1]), float(steps[2]))
    tight = working_grid(fixed, step, margin=0.0)
    spans = " x ".join(f"{n * s:.0f}" for n, s in zip(tight.shape, step, strict=True))
    at = " x ".join(f"{s:.3g}" for s in step)
    if min(tight.shape) < _FEWEST_VOXELS:
        raise InputError(
            f"fixed image: its brain spans {spans} mm, too little to register at {at} mm: check "
            "the voxel size in the header"
        )
    grown = working_grid(fixed, step, margin=max(step), multiple_of=SHAPE_STEP)
    if max(grown.shape) > _MOST_VOXELS:
        raise InputError(
            f"fixed image: its brain spans {spans} mm: clear stray voxels outside the brain, and "
            "check the voxel size in the header"
        )
    if least_shape is None:
        return grown
    needed = working_grid(fixed, step, margin=max(step)).shape
    x, y, z = (_grow(size, least) for size, least in zip(needed, least_shape, strict=True))
    return working_grid(fixed, step, shape=(x, y, z))


def finer_grid(fixed: Volume, grid: Grid) -> Grid | None:
    """A grid of half the spacing and twice the shape around the same brain; None where it would be
    too large. Its points are on the image's own voxels where a grid of that spacing has them."""
    x, y, z = (2 * size for size in grid.shape)
    if max(x, y, z) > _MOST_VOXELS:
        return None
    a, b, c = (float(step) / 2 for step in np.linalg.norm(grid.affine[:3, :3], axis=0))
    return working_grid(fixed, (a, b, c), shape=(x, y, z))


def to_working_space(
    fixed: Volume, moving: Volume, matrix: Float[ndarray, "4 4"], grid: Grid
) -> WorkingPair:
    """Both images on the grid, intensities as in training.

    Args:
        fixed, moving: brain-extracted.
        matrix: fixed world to moving world, RAS mm.
        grid: in the fixed world.

    Raises:
        InputError: nothing of an image falls on the grid.
    """
    return WorkingPair(
        grid,
        _working_image(fixed, np.eye(4), grid, "fixed image"),
        _working_image(moving, matrix, grid, "moving image"),
    )


def _grow(needed: int, least: int) -> int:
    return least + max(0, -(-(needed - least) // SHAPE_STEP)) * SHAPE_STEP


def _working_image(volume: Volume, matrix, grid: Grid, name: str) -> Float[ndarray, "d h w"]:
    found = brain_on_grid(volume, grid, matrix=matrix)
    if found is None:
        raise InputError(
            f"{name}: nothing of it meets the other brain: check the orientation in both headers, "
            "and that an initial affine leads from the fixed to the moving image"
        )
    return found
