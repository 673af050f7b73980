"""Displacements in world millimetres, and images warped by them.

A pull-back displacement u in RAS mm on the fixed grid says that the fixed image's point x
corresponds to the moving image's point x + u(x). Beyond its grid it is held constant.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from scipy import ndimage

from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.images.threads import in_threads
from drivenmorph_jax.images.volume import Volume

# Planes handled at once: bounds the float64 coordinates of a 256³ grid to some 25 MB.
_PLANES = 16
# A cubic spline's coefficients fall by 0.27 a voxel: below float32's precision after 12.
_MARGIN = 12
# Coordinates of voxels are rounded to this for labels: halves arrive as 4.4999999999.
_DECIMALS = 6

Slab = tuple[slice, np.ndarray]
"""Slices of a grid's first axis, and a world point (n, Y, Z, 3) for each of their voxels."""


def world_displacement(
    displacement: np.ndarray,
    grid_affine: np.ndarray,
    matrix: np.ndarray,
    shape: tuple[int, int, int],
    affine: np.ndarray,
) -> np.ndarray:
    """A network's displacement and the affine before it as one field on the fixed image's grid.

    u(x) = A·(x + d(x)) − x, with A = `matrix` and d the displacement of the working grid in mm,
    interpolated linearly and held constant beyond the working grid.

    Args:
        displacement: (D, H, W, 3) pull-back, in voxels of the working grid.
        grid_affine: (4, 4) of the working grid, voxel to RAS mm of the fixed world.
        matrix: (4, 4), fixed world to moving world (RAS mm), applied after the displacement.
        shape: voxels per axis of the fixed image.
        affine: (4, 4) of the fixed image.

    Returns:
        (X, Y, Z, 3) float32, RAS mm.
    """
    to_grid = np.linalg.inv(grid_affine) @ affine
    linear = np.asarray(matrix, dtype=np.float64) @ np.asarray(grid_affine, dtype=np.float64)
    result = np.empty((*shape, 3), dtype=np.float32)
    field = np.asarray(displacement)

    def component(axis: int) -> np.ndarray:
        return ndimage.affine_transform(
            field[..., axis],
            to_grid,
            output_shape=tuple(shape),
            order=1,
            mode="nearest",
            output=np.float32,
        )

    local = in_threads(component, range(3))
    for planes, points in slabs(shape, affine):
        steps = np.stack([part[planes] for part in local], axis=-1)
        result[planes] = apply_affine(matrix, points) - points + steps @ linear[:3, :3].T
    return result


def warp_volume(
    volume: Volume, displacement: np.ndarray, affine: np.ndarray, *, order: int = 1
) -> Volume:
    """`volume` (moving) sampled at x + u(x) for every voxel of the displacement's grid.

    Args:
        volume: the moving image, or a label map (with `order=0`).
        displacement: (X, Y, Z, 3), RAS mm, on the fixed grid.
        affine: (4, 4) of the fixed grid.
        order: 0 nearest, 1 linear, 3 cubic spline. Outside the image is zero.

    Returns:
        The image on the fixed grid; dtype kept for order 0, else float32.
    """
    x, y, z = displacement.shape[:3]
    moved = ((planes, points + displacement[planes]) for planes, points in slabs((x, y, z), affine))
    return sample_volume(volume, (x, y, z), affine, moved, order=order)


def sample_volume(
    volume: Volume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    moved: Iterable[Slab],
    *,
    order: int = 1,
) -> Volume:
    """`volume` sampled at the points to which the voxels of a grid have moved.

    Args:
        volume: the moving image, or a label map (with `order=0`).
        shape: voxels per axis of the fixed grid.
        affine: (4, 4) of the fixed grid.
        moved: `slabs` of that grid, their points now in the moving image's world.
        order: 0 nearest, 1 linear, 3 cubic spline. Outside the image is zero.

    Returns:
        The image on the fixed grid; dtype kept for order 0, else float32.
    """
    source = volume.data if order == 0 else volume.data.astype(np.float32)
    to_voxels = np.linalg.inv(volume.affine)
    if order > 1:
        # The spline must know of the zeros outside: prefilter with a margin of them.
        source = ndimage.spline_filter(np.pad(source, _MARGIN), order, mode="mirror")
        to_voxels[:3, 3] += _MARGIN
    result = np.empty(shape, dtype=volume.data.dtype if order == 0 else np.float32)
    for planes, points in moved:
        voxels = apply_affine(to_voxels, points)
        ndimage.map_coordinates(
            source,
            np.moveaxis(np.round(voxels, _DECIMALS) if order == 0 else voxels, -1, 0),
            output=result[planes],
            order=order,
            mode="grid-constant",
            prefilter=False,
        )
    return Volume(result, np.asarray(affine, dtype=np.float64))


def transform_points(
    points: np.ndarray, displacement: np.ndarray, affine: np.ndarray
) -> np.ndarray:
    """Fixed-world points (..., 3) in RAS mm to moving-world points, by the pull-back field."""
    points = np.asarray(points, dtype=np.float64)
    voxels = apply_affine(np.linalg.inv(affine), points.reshape(-1, 3)).T

    def component(axis: int) -> np.ndarray:
        return ndimage.map_coordinates(
            displacement[..., axis], voxels, order=1, mode="nearest", output=np.float64
        )

    steps = in_threads(component, range(3))
    return points + np.stack(steps, axis=-1).reshape(points.shape)


def slabs(shape: tuple[int, int, int], affine: np.ndarray) -> Iterator[Slab]:
    """A grid's voxels in the world, some planes at a time: bounds the memory."""
    inner = np.stack(np.meshgrid(*(np.arange(size) for size in shape[1:]), indexing="ij"), axis=-1)
    plane = inner @ affine[:3, 1:3].T + affine[:3, 3]
    for first in range(0, shape[0], _PLANES):
        planes = slice(first, min(first + _PLANES, shape[0]))
        along = np.arange(planes.start, planes.stop)[:, None] * affine[:3, 0]
        yield planes, plane[None] + along[:, None, None, :]
