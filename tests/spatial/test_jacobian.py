"""Jacobians against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.images.world_jacobian import world_jacobian
from drivenmorph_jax.objective.diffeomorphism import ndv_percent
from drivenmorph_jax.spatial.jacobian import (
    determinant,
    fourth_order_volume,
    jacobian_determinant,
    jacobian_matrix,
    least_corner_volume,
)


@pytest.mark.parametrize("n", [2, 3])
def test_affine_field_is_exact_up_to_the_border(n):
    matrix = np.array([[1.1, 0.2, -0.1], [-0.1, 0.9, 0.05], [0.3, 0.1, 1.2]])[:n, :n]
    grid = np.moveaxis(np.indices((5, 6, 7)[:n], float), 0, -1)
    u = jnp.asarray(grid @ (matrix - np.eye(n)).T, jnp.float32)
    expected = np.broadcast_to(matrix, (*u.shape[:-1], n, n))
    np.testing.assert_allclose(jacobian_matrix(u), expected, atol=2e-6)
    np.testing.assert_allclose(jacobian_determinant(u), np.linalg.det(matrix), atol=1e-5)


def _periodic(size):
    """A field on a periodic box, in voxels, and the determinant of its map."""
    t = 2 * np.pi * np.indices((size,) * 3) / size
    a, b, c = 0.3, 0.25, -0.2
    waves = (
        a * np.sin(t[0]) * np.cos(t[1]),
        b * np.sin(t[1]) * np.cos(t[2]),
        c * np.sin(t[2] + t[0]),
    )
    u = np.stack(waves, axis=-1) * size / (2 * np.pi)
    zero = np.zeros_like(t[0])
    slopes = np.array(
        [
            [a * np.cos(t[0]) * np.cos(t[1]), -a * np.sin(t[0]) * np.sin(t[1]), zero],
            [zero, b * np.cos(t[1]) * np.cos(t[2]), -b * np.sin(t[1]) * np.sin(t[2])],
            [c * np.cos(t[2] + t[0]), zero, c * np.cos(t[2] + t[0])],
        ]
    )
    return jnp.asarray(u, jnp.float32), np.linalg.det(
        np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(3)
    )


def test_periodic_field_converges_with_the_square_of_the_spacing():
    errors = []
    for size in (12, 24):
        u, expected = _periodic(size)
        inside = np.s_[1:-1, 1:-1, 1:-1]
        errors.append(np.abs(jacobian_determinant(u)[inside] - expected[inside]).max())
    assert errors[0] < 0.1
    assert errors[1] < errors[0] / 3.2


def test_a_shear_along_one_axis_keeps_the_volume():
    profile = np.random.default_rng(0).normal(size=(1, 6, 7, 1))
    u = np.concatenate([np.broadcast_to(profile, (5, 6, 7, 1)), np.zeros((5, 6, 7, 2))], axis=-1)
    np.testing.assert_allclose(jacobian_determinant(jnp.asarray(u, jnp.float32)), 1, atol=1e-6)


def test_reflection_counts_as_a_fold():
    x = jnp.arange(6.0)
    u = jnp.zeros((6, 4, 4, 3)).at[..., 0].set(-2 * x.reshape(6, 1, 1))
    np.testing.assert_allclose(jacobian_determinant(u), -1, atol=1e-6)


@pytest.mark.parametrize("n", [2, 3])
def test_determinant_is_numpys(n):
    matrices = np.random.default_rng(0).normal(size=(20, n, n))
    got = determinant(jnp.asarray(matrices, jnp.float32))
    np.testing.assert_allclose(got, np.linalg.det(matrices), atol=1e-5)


def test_of_an_affine_map_every_volume_is_its_determinant():
    matrix = np.array([[1.1, 0.2, -0.1], [-0.1, 0.9, 0.05], [0.3, 0.1, 1.2]])
    grid = np.moveaxis(np.indices((5, 6, 7), float), 0, -1)
    u = jnp.asarray(grid @ (matrix - np.eye(3)).T, jnp.float32)
    assert np.linalg.det(matrix) > 1
    # At the border the displacement goes on as it is, not as the map does.
    inside = np.s_[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(
        least_corner_volume(u)[inside][..., 0], np.linalg.det(matrix), atol=1e-5
    )
    np.testing.assert_allclose(fourth_order_volume(u), np.linalg.det(matrix), atol=1e-5)


@pytest.mark.parametrize(("size", "folds"), [(0.1, False), (0.25, None), (0.8, True)])
def test_corners_are_positive_where_no_volume_is_turned_over(size, folds):
    u = size * np.random.default_rng(3).normal(size=(6, 7, 8, 3))
    negative = np.minimum(np.asarray(least_corner_volume(jnp.asarray(u, jnp.float32))), 0)[..., 0]
    turned = [
        [ndv_percent(u, mask=np.eye(u[..., 0].size)[voxel].reshape(u.shape[:3])) > 0]
        for voxel in range(u[..., 0].size)
    ]
    np.testing.assert_array_equal(negative.reshape(-1, 1) < 0, turned)
    assert folds is None or np.any(turned) == folds


def test_corners_see_what_central_differences_do_not():
    x = np.arange(8)[:, None, None]
    u = np.zeros((8, 5, 6, 3))
    u[..., 0] = 0.3 * (-1.0) ** x  # Edges of 1 - 0.6 and 1 + 0.6.
    u = jnp.asarray(u, jnp.float32)
    assert jacobian_determinant(u)[1:-1].min() == 1
    np.testing.assert_allclose(least_corner_volume(u)[2:-2], 0.4, atol=1e-6)
    np.testing.assert_allclose(least_corner_volume(2 * u)[2:-2], -0.2, atol=1e-6)
    assert jacobian_determinant(2 * u)[1:-1].min() == 1


def test_fourth_order_is_exact_for_cubics_and_is_that_of_the_maps_in_files():
    x, y, z = np.indices((9, 10, 11), float) / 5 - 1
    u = np.stack([0.3 * x**3 + y * z, 0.5 * y**3 - x * y * z, z**3 + 0.2 * x**2 * y], axis=-1)
    # Per voxel, of which 5 are a unit.
    rows = [
        [0.9 * x**2, z, y],
        [-y * z, 1.5 * y**2 - x * z, -x * y],
        [0.4 * x * y, 0.2 * x**2, 3 * z**2],
    ]
    exact = np.linalg.det(np.eye(3) + np.moveaxis(np.array(rows), (0, 1), (-2, -1)))
    found = fourth_order_volume(jnp.asarray(5 * u, jnp.float32))[..., 0]
    inside = np.s_[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(found[inside], exact[inside], atol=1e-4)
    rough = np.random.default_rng(1).normal(size=(9, 8, 7, 3))
    np.testing.assert_allclose(
        fourth_order_volume(jnp.asarray(rough, jnp.float32))[inside][..., 0],
        world_jacobian(rough, np.eye(4))[inside],
        atol=1e-5,
    )


def test_fourth_order_sees_what_corners_do_not():
    u = np.zeros((12, 6, 6, 3))
    u[..., 0] = 0.8 * np.array([0, -1, 0, 1] * 3)[:, None, None]  # A wave four voxels long.
    u = jnp.asarray(u, jnp.float32)
    assert jacobian_determinant(u).min() > 0.19 and least_corner_volume(u).min() > 0.19
    np.testing.assert_allclose(fourth_order_volume(u)[4:-2:4], 1 - 0.8 * 4 / 3, atol=1e-6)
