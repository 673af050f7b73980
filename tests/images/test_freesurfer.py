"""Our FreeSurfer files, read back by us and applied by surfa."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    Grid,
    Transform,
    read_freesurfer_displacement,
    read_lta,
    write_freesurfer_displacement,
    write_itk_displacement,
    write_lta,
)
from tests.images.geometries import grid
from tests.images.pairs import MATRIX, NAMES, pair, points_inside, world_points


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_displacement_round_trip_and_header(fixed_name, moving_name, tmp_path):
    case = pair(fixed_name, moving_name)
    path = tmp_path / "warp.nii.gz"
    write_freesurfer_displacement(path, case.displacement, case.fixed.affine, case.moving_grid)
    image = nib.Nifti1Image.from_filename(path)
    assert image.shape == (*case.fixed.shape, 1, 3)
    assert image.get_data_dtype() == np.float32
    assert int(image.header["intent_code"]) == 1006
    assert image.header.extensions.get_codes() == [14]
    displacement, affine = read_freesurfer_displacement(path)
    np.testing.assert_array_equal(displacement, case.displacement)
    np.testing.assert_allclose(affine, case.fixed.affine, atol=1e-5)


def test_fields_of_another_kind_are_refused(tmp_path):
    zero, path = np.zeros((5, 5, 5, 3)), tmp_path / "w.nii"
    write_itk_displacement(path, zero, np.eye(4))
    with pytest.raises(InputError, match="intent 1007"):
        read_freesurfer_displacement(path)
    write_freesurfer_displacement(path, zero, np.eye(4), Grid((4, 4, 4), np.eye(4)))
    image = nib.Nifti1Image.from_filename(path)
    content = bytes(image.header.extensions[0].get_content())
    # The kind that the extension names: coordinates instead of displacements.
    content = content.replace(
        b"\x00\x00\x00\x03\x00\x00\x00\x01", b"\x00\x00\x00\x02\x00\x00\x00\x01"
    )
    image.header.extensions[0] = Nifti1Extension(14, content)
    nib.save(image, tmp_path / "other.nii")
    with pytest.raises(InputError, match="no displacements in RAS"):
        read_freesurfer_displacement(tmp_path / "other.nii")


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_affine_round_trip(fixed_name, moving_name, tmp_path):
    path = tmp_path / "a.lta"
    write_lta(path, MATRIX, Grid(*grid(fixed_name)), Grid(*grid(moving_name)))
    np.testing.assert_allclose(read_lta(path), MATRIX, atol=1e-12)


def test_voxel_to_voxel(tmp_path):
    fixed, moving = Grid(*grid("oblique")), Grid(*grid("permuted"))
    write_lta(tmp_path / "a.lta", MATRIX, fixed, moving)
    lines = (tmp_path / "a.lta").read_text().splitlines()
    voxels = np.linalg.inv(fixed.affine) @ np.linalg.inv(MATRIX) @ moving.affine
    lines[0] = "type      = 0 # LINEAR_VOX_TO_VOX"
    lines[5:9] = [" ".join(repr(float(value)) for value in row) for row in voxels]
    (tmp_path / "a.lta").write_text("\n".join(lines))
    np.testing.assert_allclose(read_lta(tmp_path / "a.lta"), MATRIX, atol=1e-9)


def test_affines_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "a.lta"
    some = Grid((4, 4, 4), np.eye(4))
    write_lta(path, MATRIX, some, some)
    text = path.read_text()
    for changed, message in (
        ("", "not a readable"),
        (text.replace("1 4 4", "2 4 4"), "not a readable"),
        (text.replace("= 1 #", "= 14 #"), "of type 14"),
        (text.replace("= 1 #", "= 0 #").replace("valid = 1", "valid = 0"), "not a readable"),
    ):
        path.write_text(changed)
        with pytest.raises(InputError, match=message):
            read_lta(path)
    with pytest.raises(InputError, match="no such file"):
        read_lta(tmp_path / "none.lta")
    with pytest.raises(InputError, match="change the ending"):
        write_lta(tmp_path / "a.txt", MATRIX, some, some)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_surfa_gives_our_warped_image(surfa, fixed_name, moving_name, tmp_path):
    case = pair(fixed_name, moving_name)
    case.save(tmp_path)
    check_surfa(surfa, case, tmp_path)


def check_surfa(surfa, case, folder: Path) -> None:
    """surfa's image, labels and points by the warp that we write are ours."""
    path = folder / "freesurfer.nii.gz"
    write_freesurfer_displacement(path, case.displacement, case.fixed.affine, case.moving_grid)
    warp = surfa.load_warp(str(path))
    for geometry, ours in ((warp.source, case.moving_grid), (warp.target, case.fixed_grid)):
        assert tuple(geometry.shape) == tuple(ours.shape)
        np.testing.assert_allclose(geometry.vox2world.matrix, ours.affine, atol=1e-4)
    moving, labels = (surfa.load_volume(str(folder / f"{n}.nii.gz")) for n in ("moving", "labels"))
    case.check_image(warp(moving, method="linear").data)
    case.check_labels(warp(labels, method="nearest").data)
    there = warp.convert(surfa.Warp.Format.abs_ras).data
    expected = case.transform(world_points(case.fixed_grid))
    np.testing.assert_allclose(there, expected, atol=1e-3)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_surfa_gives_our_affinely_moved_image(surfa, fixed_name, moving_name, tmp_path):
    case = pair(fixed_name, moving_name)._replace(transform=Transform.from_matrix(MATRIX))
    case.save(tmp_path)
    write_lta(tmp_path / "a.lta", MATRIX, case.fixed_grid, case.moving_grid)
    affine = surfa.load_affine(str(tmp_path / "a.lta"))
    moving = surfa.load_volume(str(tmp_path / "moving.nii.gz"))
    case.check_image(moving.transform(affine, method="linear").data)
    points = points_inside(case.fixed_grid)
    np.testing.assert_allclose(affine.transform(case.transform(points)), points, atol=1e-3)
