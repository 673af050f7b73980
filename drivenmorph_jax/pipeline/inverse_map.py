"""The way back: a registration's whole map inverted, on the moving image's own grid."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from drivenmorph_jax.images import Grid, Transform, Volume, invert_points, world_displacement
from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.images.world import slabs
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.spatial.inverse import invert

# On the working grid a start is enough, in voxels: what follows makes it exact.
_ITERATIONS, _TOLERANCE = 8, 0.01
# Simple corrections before the costly ones; off by no more than this, in mm, is close enough.
_CORRECTIONS = 4
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

    With φ(x) = A(x + d(x)): the deformable part is inverted on the working grid (`spatial.invert`)
    and read where the inverse affine leads, φ⁻¹(y) = (1 + d)⁻¹(A⁻¹y). The field on the fixed grid,
    read linearly between its voxels, is another map by a little: steps against it lead from there
    to its own inverse (`images.invert_points` where they do not).

    Args:
        registered: of this pair.
        fixed, moving: the images that were registered.
    """
    grid = Grid(moving.shape, moving.affine)
    back = _back_on_the_working_grid(registered, grid)
    forward = Transform.from_field(registered.displacement, fixed.affine)
    _correct(back, grid, forward, np.linalg.inv(registered.matrix)[:3, :3])
    backward = Transform.from_field(back, moving.affine)
    there_and_back = _round_trip(fixed, forward, backward, grid)
    back_and_there = _round_trip(moving, backward, forward, Grid(fixed.shape, fixed.affine))
    return Inverse(back, Consistency(there_and_back, back_and_there))


def _back_on_the_working_grid(registered: Registered, moving: Grid) -> Float[ndarray, "u v w 3"]:
    working, matrix = registered.working.grid, registered.matrix
    inverse = np.asarray(_inverted(np.asarray(registered.deformable.displacement)))
    # The working grid carried into the moving world by A is where φ⁻¹ = (1 + w)·A⁻¹ is read.
    return world_displacement(inverse, matrix @ working.affine, np.linalg.inv(matrix), *moving)


@jax.jit
def _inverted(displacement):
    return invert(displacement, iterations=_ITERATIONS, tolerance=_TOLERANCE).displacement


def _correct(
    back: Float[ndarray, "u v w 3"], grid: Grid, forward: Transform, slope: Float[ndarray, "3 3"]
) -> None:
    """Let the inverse, in place, undo the written field, not only the one on the working grid.

    Only where it leads onto the fixed grid: beyond it the field says nothing.

    Args:
        back: the inverse displacement, mm.
        grid: its own.
        forward: one field, to be undone.
        slope: ∂x/∂y of the affine part.
    """
    assert forward.grid is not None
    for planes, points in slabs(*grid):
        part = back[planes]
        inside = _lies_on(forward.grid, points + part)
        steps = part[inside].astype(np.float64)
        part[inside] = _corrected(points[inside], steps, forward, slope)


def _corrected(points, steps, forward: Transform, slope) -> Float[ndarray, "n 3"]:
    """Steps s ← s − slope·(φ(y + s) − y), kept where they lead nearer; Newton's for the rest."""
    errors = forward(points + steps) - points
    for _ in range(_CORRECTIONS):
        still = _not_close(errors)
        trial = steps[still] - errors[still] @ slope.T
        error = forward(points[still] + trial) - points[still]
        better = (error**2).sum(-1) < (errors[still] ** 2).sum(-1)
        steps[still[better]], errors[still[better]] = trial[better], error[better]
    still = _not_close(errors)
    if len(still):
        found = invert_points(forward, points[still])
        better = found.residual < np.linalg.norm(errors[still], axis=-1)
        steps[still[better]] = (found.points - points[still])[better]
    return steps


def _not_close(errors):
    return np.flatnonzero((errors**2).sum(-1) > _CLOSE**2)


def _round_trip(image: Volume, there: Transform, back: Transform, other: Grid) -> Distances | None:
    """There and back again, from the brain's voxels that stay on the other grid."""
    points = apply_affine(image.affine, np.argwhere(image.data != 0))
    away = there(points)
    inside = _lies_on(other, away)
    if not inside.any():
        return None
    apart = np.linalg.norm(back(away[inside]) - points[inside], axis=-1)
    return Distances(float(apart.mean()), float(np.percentile(apart, 99)), float(apart.max()))


def _lies_on(grid: Grid, points: Float[ndarray, "*n 3"]) -> Bool[ndarray, "*n"]:
    voxels = apply_affine(np.linalg.inv(grid.affine), points)
    return np.all((voxels >= 0) & (voxels <= np.array(grid.shape) - 1), axis=-1)
