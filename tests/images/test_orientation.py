"""Canonical axes are exact, and exactly undone."""

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.images import Volume, canonical, like
from tests.images.geometries import GRIDS, grid


@pytest.mark.parametrize("name", GRIDS)
def test_round_trip_is_exact(name):
    shape, affine = grid(name)
    volume = Volume(np.random.default_rng(0).random(shape), affine)
    turned = canonical(volume)
    assert nib.orientations.aff2axcodes(turned.affine) == ("R", "A", "S")
    back = like(turned, affine)
    np.testing.assert_array_equal(back.data, volume.data)
    np.testing.assert_allclose(back.affine, affine, atol=1e-12)


@pytest.mark.parametrize("name", GRIDS)
def test_voxels_keep_their_place_in_the_world(name):
    shape, affine = grid(name)
    volume = Volume(np.random.default_rng(0).random(shape), affine)
    turned = canonical(volume)
    voxel = np.array([3, 4, 5])
    world = affine[:3, :3] @ voxel + affine[:3, 3]
    there = np.linalg.solve(turned.affine[:3, :3], world - turned.affine[:3, 3])
    assert turned.data[tuple(np.rint(there).astype(int))] == volume.data[tuple(voxel)]
