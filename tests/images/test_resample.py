"""Resampling onto grids, and the grid around a brain."""

import numpy as np
import pytest

from drivenmorph_jax.images import Volume, canonical, resample, working_grid
from tests.images.geometries import GRIDS, grid, smooth_image


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("order", [0, 1, 3])
def test_same_grid_is_the_identity(name, order):
    shape, affine = grid(name)
    volume = Volume(np.random.default_rng(0).random(shape).astype(np.float32), affine)
    result = resample(volume, shape, affine, order=order)
    np.testing.assert_allclose(result.data, volume.data, atol=1e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_a_smooth_image_is_the_same_on_another_grid(name):
    shape, affine = grid(name)
    wanted_shape, wanted_affine = grid("oblique")
    volume = Volume(smooth_image(shape, affine), affine)
    result = resample(volume, wanted_shape, wanted_affine, order=3)
    wanted = smooth_image(wanted_shape, wanted_affine)
    inside = wanted > 0.3
    coarse = 0.25 if name == "thick" else 0.1
    assert np.abs(result.data - wanted)[inside].max() < coarse * wanted.max()


def test_matrix_pulls_back():
    shape, affine = grid("RAS")
    volume = Volume(smooth_image(shape, affine), affine)
    matrix = np.eye(4)
    matrix[0, 3] = 4.0
    result = resample(volume, shape, affine, matrix=matrix)
    np.testing.assert_allclose(result.data[:-2], volume.data[2:], atol=1e-6)
    np.testing.assert_array_equal(result.data[-2:], 0)


def test_labels_keep_type_and_values():
    shape, affine = grid("permuted")
    values = np.array([0, 7, 41, 2035], np.int32)
    labels = Volume(np.random.default_rng(0).choice(values, shape), affine)
    result = resample(labels, *grid("thick"), order=0)
    assert result.data.dtype == np.int32
    assert set(np.unique(result.data)) == set(values)


@pytest.mark.parametrize("name", GRIDS)
def test_working_grid_holds_the_brain(name):
    shape, affine = grid(name)
    volume = Volume(np.where(smooth_image(shape, affine) > 0.5, 1, 0), affine)
    box = working_grid(volume, 2.0, multiple_of=8, margin=4)
    assert all(size % 8 == 0 for size in box.shape)
    world = np.argwhere(volume.data) @ affine[:3, :3].T + affine[:3, 3]
    voxels = (world - box.affine[:3, 3]) / 2.0
    assert voxels.min() >= 1.5
    assert (np.array(box.shape) - 1 - voxels).min() >= 1.5


def test_working_grid_keeps_voxels_of_an_image_already_on_such_a_grid():
    shape, affine = grid("LPS")
    volume = canonical(Volume(np.where(smooth_image(shape, affine) > 0.5, 3, 0), affine))
    box = working_grid(volume, 2.0, shape=(40, 32, 36))
    assert box.shape == (40, 32, 36)
    result = resample(volume, box.shape, box.affine)
    np.testing.assert_array_equal(np.unique(result.data), [0, 3])
    assert result.data.sum() == volume.data.sum()
