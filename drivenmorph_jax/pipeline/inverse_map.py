"""The way back: a registration's whole map inverted, on the moving image's own grid."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from drivenmorph_jax.images import Grid, Volume, transform_points, world_displacement
from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.images.world import slabs
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.undoing import Undoing

# On the working grid a start is enough, in voxels: what follows makes it exact, to so many mm.
_TOLERANCE = 0.01
_CLOSE = 0.005


class Distances(NamedTuple):
    """Their mean, 99th percentile and largest, mm."""

    mean: float
    p99: float
    largest: float


class Consistency(NamedTuple):
    """How far one ends from where one began, there and back, both fields read linearly; mm.

    None where no point of the brain stays within both grids.

    Attributes:
        there_and_back: |φ⁻¹(φ(x)) − x| from the fixed brain's voxels, which come to lie between
            those of the inverse: what linear interpolation of the inverse costs is in it.
        back_and_there: |φ(φ⁻¹(y)) − y| from the moving brain's voxels, those of the inverse.
    """

    there_and_back: Distances | None
    back_and_there: Distances | None


class Inverse(NamedTuple):
    """The inverse of the whole map.

    Attributes:
        displacement: (U, V, W, 3) mm, RAS, on the moving image's own grid: the moving image's
            point y corresponds to the fixed image's y + displacement(y).
        consistency: of the two maps as they are written.
    """

    displacement: Float[ndarray, "u v w 3"]
    consistency: Consistency


def invert_map(registered: Registered, fixed: Volume, moving: Volume) -> Inverse:
    """Invert a registration, and measure how well that worked.

    With φ(x) = A(x + d(x)): the deformable part is inverted on the working grid, and read where the
    inverse affine leads, φ⁻¹(y) = (1 + d)⁻¹(A⁻¹y). The field on the fixed grid, read linearly
    between its voxels, is another map by a little: from there Newton's steps lead to its own
    inverse.

    Args:
        registered: of this pair.
        fixed, moving: the images that were registered.
    """
    grid = Grid(moving.shape, moving.affine)
    back = _back_on_the_working_grid(registered, grid)
    _correct(back, grid, registered.displacement, Grid(fixed.shape, fixed.affine))
    there_and_back = _round_trip(fixed, registered.displacement, moving, back)
    back_and_there = _round_trip(moving, back, fixed, registered.displacement)
    return Inverse(back, Consistency(there_and_back, back_and_there))


def _back_on_the_working_grid(registered: Registered, moving: Grid) -> Float[ndarray, "u v w 3"]:
    working, matrix = registered.working.grid, registered.matrix
    displacement = np.asarray(registered.deformable.displacement)
    voxels = np.moveaxis(np.indices(working.shape, np.float32), 0, -1).reshape(-1, 3)
    found = Undoing(displacement)(voxels, voxels, tolerance=_TOLERANCE)
    inverse = (found - voxels).reshape(displacement.shape)
    # The working grid carried into the moving world by A is where φ⁻¹ = (1 + w)·A⁻¹ is read.
    return world_displacement(inverse, matrix @ working.affine, np.linalg.inv(matrix), *moving)


def _correct(
    back: Float[ndarray, "u v w 3"],
    grid: Grid,
    displacement: Float[ndarray, "x y z 3"],
    fixed: Grid,
) -> None:
    """Let the inverse, in place, undo the written field, not only the one on the working grid.

    Only where it leads onto the fixed grid: beyond it the field says nothing.

    Args:
        back: the inverse displacement, mm.
        grid: its own.
        displacement: the field to be undone, mm, on the fixed grid.
        fixed: that grid.
    """
    axes = fixed.affine[:3, :3].astype(np.float32)
    to_voxels = np.linalg.inv(axes)
    undoing = Undoing(displacement @ to_voxels.T)
    tolerance = _CLOSE / np.linalg.norm(axes, axis=0).max()
    # In voxels of the fixed grid.
    for planes, targets in slabs(grid.shape, np.linalg.inv(fixed.affine) @ grid.affine):
        part = back[planes]
        start = targets + part @ to_voxels.T
        inside = _within(fixed.shape, start)
        found = undoing(targets[inside], start[inside], tolerance=tolerance)
        part[inside] = (found - targets[inside]) @ axes.T


def _round_trip(
    image: Volume,
    there: Float[ndarray, "x y z 3"],
    other: Volume,
    back: Float[ndarray, "u v w 3"],
) -> Distances | None:
    """There and back again, from the brain's voxels that stay on the other grid."""
    brain = image.data != 0
    points = apply_affine(image.affine, np.argwhere(brain))
    away = points + there[brain]
    inside = _within(other.shape, apply_affine(np.linalg.inv(other.affine), away))
    if not inside.any():
        return None
    returned = transform_points(away[inside], back, other.affine)
    apart = np.linalg.norm(returned - points[inside], axis=-1)
    return Distances(float(apart.mean()), float(np.percentile(apart, 99)), float(apart.max()))


def _within(shape: tuple[int, int, int], voxels: Float[ndarray, "*n 3"]) -> Bool[ndarray, "*n"]:
    return np.all((voxels >= 0) & (voxels <= np.array(shape) - 1), axis=-1)
