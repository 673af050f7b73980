"""World displacements: composition with the affine, and warping."""

import numpy as np
import pytest

from drivenmorph_jax.images import (
    Volume,
    resample,
    transform_points,
    warp_volume,
    working_grid,
    world_displacement,
)
from tests.images.geometries import GRIDS, affine, grid, smooth_image

MATRIX = np.array([[1.05, 0.1, 0, 2], [-0.08, 0.95, 0.02, -1], [0.03, 0, 1.1, 0.5], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("name", GRIDS)
def test_without_displacement_it_is_the_affine(name):
    shape, geometry = grid(name)
    moving_shape, moving_affine = grid("oblique")
    moving = Volume(smooth_image(moving_shape, moving_affine), moving_affine)
    zero = np.zeros((6, 7, 8, 3))
    field = world_displacement(zero, np.diag([9, 9, 9, 1.0]), MATRIX, shape, geometry)
    by_field = warp_volume(moving, field, geometry)
    by_matrix = resample(moving, shape, geometry, matrix=MATRIX)
    np.testing.assert_allclose(by_field.data, by_matrix.data, atol=2e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_a_linear_displacement_composes_exactly(name):
    # d(x) = B x on the working grid is kept exactly by linear interpolation: u = A(x + Bx) - x.
    shape, geometry = grid(name)
    box = affine((3, 4, 5), degrees=(4, 5, 6), shape=(40, 40, 40))
    index = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1)
    world = index @ box[:3, :3].T + box[:3, 3]
    local = np.array([[0.1, 0.05, 0], [0, -0.1, 0.02], [0.03, 0, 0.05]])
    voxels = (world @ local.T) @ np.linalg.inv(box[:3, :3]).T
    field = world_displacement(voxels, box, MATRIX, shape, geometry)
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = points @ geometry[:3, :3].T + geometry[:3, 3]
    moved = points + points @ local.T
    wanted = moved @ MATRIX[:3, :3].T + MATRIX[:3, 3] - points
    np.testing.assert_allclose(field, wanted, atol=1e-4)
    there = transform_points(points[3, 4, 5:7], field, geometry)
    np.testing.assert_allclose(there, points[3, 4, 5:7] + wanted[3, 4, 5:7], atol=1e-4)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_zero_field_on_its_own_grid_changes_nothing(order):
    shape, geometry = grid("permuted")
    volume = Volume(np.random.default_rng(0).random(shape).astype(np.float32), geometry)
    result = warp_volume(volume, np.zeros((*shape, 3)), geometry, order=order)
    # Rounding of coordinates mixes in a neighbour outside by 1e-15 of the spacing.
    np.testing.assert_allclose(result.data, volume.data, atol=1e-5)


def test_the_grid_of_an_image_feeds_the_network_and_back():
    shape, geometry = grid("oblique")
    fixed = Volume(smooth_image(shape, geometry), geometry)
    box = working_grid(Volume(np.where(fixed.data > 0.5, 1, 0), geometry), 2.0, multiple_of=4)
    shift = np.zeros((*box.shape, 3))
    shift[..., 1] = 1.5
    field = world_displacement(shift, box.affine, np.eye(4), shape, geometry)
    np.testing.assert_allclose(field, np.broadcast_to([0, 3.0, 0], field.shape), atol=1e-5)
