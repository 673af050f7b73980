"""Images moved onto other grids, in NumPy and SciPy (any size, no compilation)."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.images.volume import Volume


class Grid(NamedTuple):
    """Where voxels lie: `shape` (X, Y, Z) and the RAS+ `affine` (4, 4), in mm."""

    shape: tuple[int, int, int]
    affine: np.ndarray


def resample(
    volume: Volume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    *,
    matrix: np.ndarray | None = None,
    order: int = 1,
) -> Volume:
    """Sample `volume` at matrix·affine·v for every voxel v of the grid (shape, affine).

    Args:
        volume: the moving image, or a label map (with `order=0`).
        shape: voxels per axis of the grid.
        affine: (4, 4) of the grid, voxel to RAS mm.
        matrix: (4, 4), the grid's world to the image's world, RAS mm (an `Alignment`'s matrix);
            identity by default.
        order: 0 nearest, 1 linear, 3 cubic spline. Outside the image is zero.

    Returns:
        The image on the grid; dtype kept for order 0, else float32.
    """
    world = np.eye(4) if matrix is None else np.asarray(matrix, dtype=np.float64)
    pull = np.linalg.inv(volume.affine) @ world @ np.asarray(affine, dtype=np.float64)
    # Whole-voxel moves arrive as 4.0000000001: without this, nearest labels at halves are luck.
    pull = np.round(pull, 9)
    data = ndimage.affine_transform(
        volume.data if order == 0 else volume.data.astype(np.float32),
        pull,
        output_shape=tuple(shape),
        order=order,
        mode="grid-constant",
    )
    return Volume(data, np.asarray(affine, dtype=np.float64))


def working_grid(
    volume: Volume,
    spacing: float | tuple[float, float, float],
    *,
    multiple_of: int = 1,
    margin: float = 4.0,
    shape: tuple[int, int, int] | None = None,
) -> Grid:
    """A grid along the R, A, S axes around the brain (voxels other than 0).

    The brain's box in world space grows by `margin` mm on each side, then to the next shape whose
    axes are multiples of `multiple_of`; or, with `shape`, to that one, centred on the box. Grid
    points coincide with the image's own voxels where spacing and axes agree, so that an image
    already on such a grid is cropped and padded, not interpolated.
    """
    step = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (3,))
    voxels = np.argwhere(volume.data != 0)
    if len(voxels) == 0:
        voxels = np.array([[0, 0, 0], np.array(volume.shape) - 1])
    world = apply_affine(volume.affine, _hull(voxels))
    low, high = world.min(axis=0), world.max(axis=0)
    if shape is None:
        size = np.ceil((high - low + 2 * margin) / step).astype(int) + 1
        size = -(-size // multiple_of) * multiple_of
    else:
        size = np.asarray(shape, dtype=int)
    first = (low + high) / 2 - step * (size - 1) / 2
    anchor = volume.affine[:3, 3]
    first = anchor + step * np.round((first - anchor) / step)
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = first
    return Grid((int(size[0]), int(size[1]), int(size[2])), affine)


def _hull(voxels: np.ndarray) -> np.ndarray:
    """The voxels that are first or last in their row: they span the same box in any frame."""
    order = np.lexsort((voxels[:, 2], voxels[:, 1], voxels[:, 0]))
    rows = voxels[order]
    new = np.any(rows[1:, :2] != rows[:-1, :2], axis=1)
    first = np.concatenate([[True], new])
    last = np.concatenate([new, [True]])
    return rows[first | last]
