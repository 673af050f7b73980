"""The inverse of a transform, at points or on a grid, and how exact it is."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.images.resample import Grid
from drivenmorph_jax.images.transform import Field, Transform
from drivenmorph_jax.images.world import slabs

# Solved where φ(x) is no further than this from the point asked for, mm.
TOLERANCE = 1e-4
_SIMPLE_STEPS = 30
_NEWTON_STEPS = 15
_SHORTENINGS = (1.0, 0.5, 0.25, 0.1)
# Of the differences that give Newton's matrix: small beside a voxel, large beside float32's grain.
_DIFFERENCE = 0.05
_DAMPING = 1e-6
_LATTICE = 9
_FLATTEST = 0.01


class InversePoints(NamedTuple):
    """Where points came from.

    Attributes:
        points: x with φ(x) ≈ y, RAS mm.
        residual: |φ(x) − y|, mm; large where φ folds or misses y.
    """

    points: Float[ndarray, "*n 3"]
    residual: Float[ndarray, "*n"]


class Inverse(NamedTuple):
    """An inverse transform.

    Attributes:
        transform: moving world to fixed world: an affine for affines, else one field.
        residual: (X, Y, Z) mm, |φ(φ⁻¹(y)) − y| at the grid's voxels; None for an affine, which is
            inverted exactly.
    """

    transform: Transform
    residual: Float[ndarray, "x y z"] | None


def invert_points(transform: Transform, points: Float[ndarray, "*n 3"]) -> InversePoints:
    """Points of the moving world to points of the fixed world, RAS mm.

    Simple steps x ← x − A⁻¹(φ(x) − y), A the affine nearest to φ, where they converge; damped
    Newton steps where they do not.

    Raises:
        ValueError: an affine of the chain is singular.
    """
    points = np.asarray(points, dtype=np.float64)
    targets = points.reshape(-1, 3)
    back = np.linalg.inv(_nearest_affine(transform))
    found = apply_affine(back, targets)
    errors = transform(found) - targets
    _step_simply(transform, targets, found, errors, back[:3, :3])
    _step_by_newton(transform, targets, found, errors)
    residual = np.linalg.norm(errors, axis=-1)
    return InversePoints(found.reshape(points.shape), residual.reshape(points.shape[:-1]))


def invert_transform(transform: Transform, grid: Grid | None = None) -> Inverse:
    """The transform from the moving world back to the fixed world.

    Args:
        transform: of affines alone, inverted exactly, or with fields.
        grid: voxels of the inverse field: as a rule those of the moving image. Not needed for
            affines.

    Raises:
        ValueError: a field is to be inverted without a grid, or an affine is singular.
    """
    matrix = transform.matrix
    if matrix is not None:
        _nearest_affine(transform)
        return Inverse(Transform.from_matrix(np.linalg.inv(matrix)), None)
    if grid is None:
        raise ValueError("the inverse of a field needs a grid to lie on")
    displacement = np.empty((*grid.shape, 3), dtype=np.float32)
    residual = np.empty(grid.shape, dtype=np.float32)
    for planes, points in slabs(*grid):
        found = invert_points(transform, points)
        displacement[planes] = found.points - points
        residual[planes] = found.residual
    return Inverse(Transform.from_field(displacement, grid.affine), residual)


def _nearest_affine(transform: Transform) -> Float[ndarray, "4 4"]:
    """The least-squares affine over the first field's grid; exact where there is no field."""
    before = np.eye(4)
    for part in transform.parts:
        if isinstance(part, Field):
            ends = [np.linspace(0, size - 1, _LATTICE) for size in part.grid.shape]
            voxels = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
            start = apply_affine(np.linalg.inv(before) @ part.affine, voxels)
            return _fit(start, transform(start))
        before = part.matrix @ before
        if abs(np.linalg.det(before[:3, :3])) < 1e-9:
            raise ValueError("a singular affine has no inverse")
    return before


def _fit(start: Float[ndarray, "n 3"], end: Float[ndarray, "n 3"]) -> Float[ndarray, "4 4"]:
    homogeneous = np.concatenate([start, np.ones((len(start), 1))], axis=1)
    solution = np.linalg.lstsq(homogeneous, end, rcond=None)[0]
    matrix = np.eye(4)
    if abs(np.linalg.det(solution[:3])) > _FLATTEST:
        matrix[:3] = solution.T
    return matrix


def _step_simply(transform: Transform, targets, found, errors, slope) -> None:
    """Steps along the affine's inverse, in place, for as long as each leads nearer."""
    active = _unsolved(errors)
    for _ in range(_SIMPLE_STEPS):
        if not len(active):
            return
        trial = found[active] - errors[active] @ slope.T
        active = _accept(transform, targets, found, errors, active, trial)
        active = active[_too_far(errors[active])]


def _step_by_newton(transform: Transform, targets, found, errors) -> None:
    for _ in range(_NEWTON_STEPS):
        active = _unsolved(errors)
        if not len(active):
            return
        step = _newton(transform, found[active], errors[active])
        moved = 0
        for length in _SHORTENINGS:
            trial = found[active] + length * step
            better = _accept(transform, targets, found, errors, active, trial)
            moved += len(better)
            left = ~np.isin(active, better)
            active, step = active[left], step[left]
            if not len(active):
                break
        if not moved:
            return


def _newton(transform: Transform, points, errors) -> Float[ndarray, "n 3"]:
    """−(∂φ/∂x)⁻¹·error, the matrix by central differences."""
    columns = []
    for axis in range(3):
        offset = np.zeros(3)
        offset[axis] = _DIFFERENCE
        columns.append((transform(points + offset) - transform(points - offset)) / 2)
    matrix = np.stack(columns, axis=-1) / _DIFFERENCE
    transposed = matrix.swapaxes(-1, -2)
    # Levenberg's, for the map may be flat here.
    normal = transposed @ matrix + _DAMPING * np.eye(3)
    return -np.linalg.solve(normal, transposed @ errors[..., None])[..., 0]


def _accept(transform: Transform, targets, found, errors, active, trial) -> Float[ndarray, "m"]:
    """Move the active points, in place, that come nearer by it; which they are."""
    error = transform(trial) - targets[active]
    better = (error**2).sum(-1) < (errors[active] ** 2).sum(-1)
    chosen = active[better]
    found[chosen], errors[chosen] = trial[better], error[better]
    return chosen


def _too_far(errors):
    return (errors**2).sum(-1) > TOLERANCE**2


def _unsolved(errors):
    return np.flatnonzero(_too_far(errors))
