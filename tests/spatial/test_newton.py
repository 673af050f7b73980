"""Points undone one by one: against closed forms, folds, and the edge of the grid."""

import jax
import numpy as np
import pytest

from drivenmorph_jax.spatial.newton import preimages

preimages_jit = jax.jit(preimages)


def _solve(field, targets, start=None, *, iterations=30, tolerance=1e-5):
    start = targets if start is None else start
    flat = np.asarray(field, np.float32).reshape(-1, 3)
    # What follows the field is never read.
    padded = np.concatenate([flat, np.full((7, 3), np.nan, np.float32)])
    return preimages_jit(
        padded,
        np.asarray(field.shape[:3], np.int32),
        np.asarray(targets, np.float32),
        np.asarray(start, np.float32),
        iterations=np.int32(iterations),
        tolerance=np.float32(tolerance),
    )


def _linear(matrix, offset, shape):
    grid = np.moveaxis(np.indices(shape, float), 0, -1)
    return grid @ (np.asarray(matrix) - np.eye(3)).T + offset


MATRIX = np.array([[1.2, 0.3, -0.1], [-0.2, 0.9, 0.1], [0.05, -0.1, 0.8]])
SHAPE = (9, 10, 11)


def test_a_linear_map_is_undone_in_one_step():
    centre = (np.array(SHAPE) - 1) / 2
    field = _linear(MATRIX, centre - MATRIX @ centre, SHAPE)
    points = centre + np.random.default_rng(0).uniform(-2, 2, (50, 3))
    targets = (points - centre) @ MATRIX.T + centre
    found = _solve(field, targets, iterations=1)
    np.testing.assert_allclose(found.points, points, atol=1e-4)
    assert found.residual.max() < 1e-4


def test_a_random_smooth_field(smooth_field):
    field = smooth_field(SHAPE, amplitude=0.7)
    targets = np.random.default_rng(1).uniform(2, 6, (200, 3))
    found = _solve(field, targets)
    assert found.residual.max() < 1e-5
    # Fed back through SciPy's interpolation, which shares no code with ours.
    from scipy import ndimage

    at = np.asarray(found.points, np.float64)
    steps = [ndimage.map_coordinates(field[..., i], at.T, order=1) for i in range(3)]
    np.testing.assert_allclose(at + np.stack(steps, -1), targets, atol=1e-4)


def test_beyond_the_grid_the_field_is_held():
    field = np.zeros((*SHAPE, 3))
    field[..., 0] = 1.5
    found = _solve(field, [[30.0, -4.0, 5.0], [-9.0, 2.0, 20.0]])
    np.testing.assert_allclose(found.points, [[28.5, -4, 5], [-10.5, 2, 20]], atol=1e-5)


def test_never_further_off_than_the_start():
    """Where the map folds some points are never reached, and none is thrown away for it."""
    field = np.zeros((24, 8, 8, 3))
    field[..., 0] = (-6 * np.tanh((np.arange(24) - 12) / 2.0))[:, None, None]
    targets = np.random.default_rng(2).uniform([0, 2, 2], [23, 5, 5], (100, 3))
    first = _solve(field, targets, iterations=0)
    found = _solve(field, targets, iterations=30)
    assert (found.residual <= first.residual).all()
    assert np.isfinite(found.points).all()
    assert np.median(found.residual) < 1e-4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_place_throws_nothing_far(axis):
    field = np.zeros((*SHAPE, 3))
    field[..., axis] = 4 - np.arange(SHAPE[axis]).reshape(
        [-1 if a == axis else 1 for a in range(3)]
    )
    found = _solve(field, [[4.0, 4.0, 4.0], [5.0, 5.0, 5.0]])
    # Every point lands at 4: there is no way to the second, nor a reason to look for it far away.
    np.testing.assert_allclose(found.points[0], 4, atol=1e-5)
    assert (np.asarray(found.residual) <= [1e-5, np.sqrt(3) + 1e-5]).all()
    assert np.abs(np.asarray(found.points)).max() <= 12
