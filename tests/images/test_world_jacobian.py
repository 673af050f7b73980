"""The determinant in the world, on grids of any geometry."""

import numpy as np
import pytest

from drivenmorph_jax.images import save_volume, write_itk_displacement
from drivenmorph_jax.images import world_jacobian as module
from drivenmorph_jax.images.world_jacobian import world_jacobian
from tests.images.geometries import affine
from tests.pipeline.brains import GRIDS
from tests.pipeline.canned import between, canned, smooth


def points(shape, geometry):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ geometry[:3, :3].T + geometry[:3, 3]


@pytest.mark.parametrize("name", GRIDS)
def test_of_an_affine_it_is_the_matrix_own(name):
    shape, options = GRIDS[name]
    geometry = affine(shape=shape, **options)
    matrix = between("plain", "oblique")
    world = points(shape, geometry)
    moved = world @ matrix[:3, :3].T + matrix[:3, 3]
    found = world_jacobian(moved - world, geometry)
    np.testing.assert_allclose(found, np.linalg.det(matrix[:3, :3]), rtol=1e-6)


def test_of_a_cubic_it_is_exact():
    """Differences of fourth order are; those of second, a voxel from the border, nearly."""
    geometry = affine((0.2, 0.3, 0.25), shape=(20, 16, 12))
    x, y, z = np.moveaxis(points((20, 16, 12), geometry), -1, 0)
    displacement = np.stack([0.1 * x**3 - y, 0.2 * y * x, 0.05 * z**3 + x], axis=-1)
    matrix = np.zeros((*x.shape, 3, 3))
    matrix[..., 0, 0], matrix[..., 0, 1] = 1 + 0.3 * x**2, -1
    matrix[..., 1, 0], matrix[..., 1, 1] = 0.2 * y, 1 + 0.2 * x
    matrix[..., 2, 0], matrix[..., 2, 2] = 1, 1 + 0.15 * z**2
    off = np.abs(world_jacobian(displacement, geometry) - np.linalg.det(matrix))
    assert off[2:-2, 2:-2, 2:-2].max() < 1e-5
    assert off[1:-1, 1:-1, 1:-1].max() < 0.05


def test_a_mirrored_grid_shows_the_same_map():
    field = smooth((20, 16, 12), 3.0, seed=0)
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 19
    straight = world_jacobian(field, np.eye(4))
    np.testing.assert_allclose(world_jacobian(field[::-1], flipped)[::-1], straight, atol=1e-5)


def test_slabs_do_not_show(monkeypatch):
    field = smooth((21, 9, 8), 3.0, seed=1)
    whole = world_jacobian(field, np.diag([2.0, 1.5, 3, 1]))
    monkeypatch.setattr(module, "_PLANES", 4)
    np.testing.assert_array_equal(world_jacobian(field, np.diag([2.0, 1.5, 3, 1])), whole)


def test_a_fold_is_negative():
    u = np.zeros((12, 12, 12, 3))
    u[:6, :, :, 0], u[6:, :, :, 0] = 3, -3
    assert world_jacobian(u, np.eye(4))[5:7].max() < 0


@pytest.mark.tools
@pytest.mark.parametrize(("fixed", "moving"), [("oblique", "thick"), ("permuted", "plain")])
def test_ants_finds_the_same(fixed, moving, tmp_path):
    ants = pytest.importorskip("ants")
    made = canned(fixed, moving)
    warp, image = tmp_path / "warp.nii.gz", tmp_path / "fixed.nii.gz"
    write_itk_displacement(warp, made.registered.displacement, made.fixed.affine)
    save_volume(image, made.fixed)
    domain = ants.image_read(str(image))
    theirs = ants.create_jacobian_determinant_image(domain, str(warp), do_log=False, geom=False)
    ours = world_jacobian(made.registered.displacement, made.fixed.affine)
    core = (slice(2, -2),) * 3
    assert ours[core].std() > 0.05
    np.testing.assert_allclose(ours[core], theirs.numpy()[core], atol=1e-4)
