"""Transforms as values: applied, chained, inverted."""

import numpy as np
import pytest

from drivenmorph_jax.images import (
    Affine,
    Field,
    Grid,
    Transform,
    invert_points,
    invert_transform,
    resample,
    transform_points,
    warp_volume,
)
from tests.images.pairs import MATRIX, NAMES, pair, points_inside, volume, world_points

OTHER = np.array([[0.9, 0, 0.2, -3], [0, 1.1, 0, 4], [-0.2, 0.1, 1, 0], [0, 0, 0, 1.0]])


def test_the_empty_chain_is_the_identity():
    points = np.random.default_rng(0).normal(size=(4, 5, 3))
    np.testing.assert_array_equal(Transform()(points), points)
    np.testing.assert_array_equal(Transform().matrix, np.eye(4))


def test_affines_multiply_in_the_order_of_the_chain():
    chain = Transform.from_matrix(MATRIX).then(Transform.from_matrix(OTHER))
    np.testing.assert_allclose(chain.matrix, OTHER @ MATRIX)
    point = np.array([10.0, -20, 30])
    np.testing.assert_allclose(chain(point), (OTHER @ MATRIX @ [*point, 1])[:3])


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_a_field_does_what_the_functions_do(fixed_name, moving_name):
    case = pair(fixed_name, moving_name)
    points = points_inside(case.fixed_grid)
    expected = transform_points(points, case.displacement, case.fixed.affine)
    np.testing.assert_array_equal(case.transform(points), expected)
    np.testing.assert_allclose(case.transform(points[0]), expected[0], atol=1e-9)
    np.testing.assert_allclose(case.transform(points[None, None]), expected[None, None], atol=1e-9)
    for order in (0, 1, 3):
        image = case.labels if order == 0 else case.moving
        ours = case.transform.warp(image, case.fixed_grid, order=order)
        expected = warp_volume(image, case.displacement, case.fixed.affine, order=order)
        np.testing.assert_array_equal(ours.data, expected.data)


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_an_affine_does_what_resampling_does(fixed_name, moving_name):
    case = pair(fixed_name, moving_name)
    ours = Transform.from_matrix(MATRIX).warp(case.moving, case.fixed_grid)
    theirs = resample(case.moving, *case.fixed_grid, matrix=MATRIX)
    np.testing.assert_allclose(ours.data, theirs.data, atol=2e-5)


def test_a_chain_is_interpolated_once():
    # Affines there and back leave every value alone; two resamplings would blur.
    image = volume("oblique")
    back = Transform.from_matrix(np.linalg.inv(MATRIX))
    same = Transform.from_matrix(MATRIX).then(back)
    result = same.warp(image, Grid(image.shape, image.affine))
    np.testing.assert_allclose(result.data, image.data, atol=1e-5)


def test_a_chain_on_a_grid_is_the_chain_at_its_voxels():
    one, two = pair("RAS", "LAS"), pair("oblique", "thick")
    chain = one.transform.then(Transform.from_matrix(OTHER)).then(two.transform)
    grid = Grid(two.moving.shape, two.moving.affine)
    fused = chain.on_grid(grid)
    assert [type(part) for part in fused.parts] == [Field]
    points = world_points(grid)
    np.testing.assert_allclose(fused(points), chain(points), atol=1e-4)
    step_by_step = two.transform(Transform.from_matrix(OTHER)(one.transform(points)))
    np.testing.assert_allclose(chain(points), step_by_step, atol=1e-9)


def test_on_its_own_grid_a_field_stays_the_same_object():
    case = pair("LPS", "RAS")
    assert case.transform.on_grid(case.fixed_grid) is case.transform


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_the_inverse_of_a_field(fixed_name, moving_name):
    case = pair(fixed_name, moving_name)
    inverse = invert_transform(case.transform, case.moving_grid)
    assert inverse.residual is not None and inverse.residual.shape == case.moving.shape
    points = world_points(case.moving_grid)
    apart = np.linalg.norm(case.transform(inverse.transform(points)) - points, axis=-1)
    np.testing.assert_allclose(inverse.residual, apart, atol=2e-5)
    assert apart.max() < 1e-3


def test_the_inverse_at_points():
    case = pair("permuted", "RAS")
    start = points_inside(case.fixed_grid)
    found = invert_points(case.transform, case.transform(start))
    np.testing.assert_allclose(found.points, start, atol=1e-3)
    assert found.residual.max() < 1e-3
    assert invert_points(case.transform, start[None, :2]).points.shape == (1, 2, 3)


def test_the_inverse_of_a_chain_with_a_large_rotation():
    turn = np.array([[0, -1.0, 0, 5], [1, 0, 0, -8], [0, 0, 1, 20], [0, 0, 0, 1]])
    case = pair("oblique", "LAS")
    chain = Transform.from_matrix(turn).then(case.transform).then(Transform.from_matrix(OTHER))
    start = points_inside(Grid(case.fixed.shape, np.linalg.inv(turn) @ case.fixed.affine))
    np.testing.assert_allclose(invert_points(chain, chain(start)).points, start, atol=1e-3)


def test_the_inverse_of_affines_is_exact():
    chain = Transform.from_matrix(MATRIX).then(Transform.from_matrix(OTHER))
    inverse = invert_transform(chain)
    assert inverse.residual is None
    np.testing.assert_allclose(inverse.transform.matrix, np.linalg.inv(OTHER @ MATRIX))


def test_where_a_field_folds_the_residual_says_so():
    # x ↦ |x| reaches nothing left of 0.
    shape = (21, 5, 5)
    affine = np.eye(4)
    affine[0, 3] = -10
    x = world_points(Grid(shape, affine))[..., 0]
    displacement = np.zeros((*shape, 3))
    displacement[..., 0] = np.abs(x) - x
    transform = Transform.from_field(displacement, affine)
    found = invert_points(transform, np.array([[-3.0, 2, 2], [4, 2, 2]]))
    assert found.residual[0] > 1
    assert found.residual[1] < 1e-3


def test_what_is_no_transform_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        Affine(np.eye(3))
    with pytest.raises(ValueError, match=r"\(X, Y, Z, 3\)"):
        Field(np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(ValueError, match="NaN"):
        Field(np.full((4, 4, 4, 3), np.nan), np.eye(4))
    with pytest.raises(ValueError, match="singular"):
        invert_transform(Transform.from_matrix(np.diag([1.0, 1, 0, 1])))
    with pytest.raises(ValueError, match="grid"):
        invert_transform(Transform.from_field(np.zeros((4, 4, 4, 3)), np.eye(4)))


def test_it_cannot_be_changed():
    part = Affine(MATRIX)
    with pytest.raises(ValueError, match="read-only"):
        part.matrix[0, 0] = 2
    with pytest.raises(AttributeError):
        part.matrix = np.eye(4)  # type: ignore[misc]
