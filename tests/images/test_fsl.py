"""Our FSL files, read back by us and applied by fslpy."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    Grid,
    read_fsl_affine,
    read_fsl_displacement,
    write_fsl_affine,
    write_fsl_displacement,
)
from drivenmorph_jax.images.fsl import fsl_coordinates
from drivenmorph_jax.images.geometry import apply_affine
from tests.images.geometries import GRIDS, grid
from tests.images.pairs import MATRIX, NAMES, pair, points_inside, world_points


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_displacement_round_trip_and_header(fixed_name, moving_name, tmp_path):
    case = pair(fixed_name, moving_name)
    path = tmp_path / "warp.nii.gz"
    write_fsl_displacement(path, case.displacement, case.fixed.affine, case.moving_grid)
    image = nib.Nifti1Image.from_filename(path)
    assert image.shape == (*case.fixed.shape, 3)
    assert image.get_data_dtype() == np.float32
    assert int(image.header["intent_code"]) == 2006
    displacement, affine = read_fsl_displacement(path, case.moving_grid)
    np.testing.assert_allclose(displacement, case.displacement, atol=1e-4)
    np.testing.assert_allclose(affine, case.fixed.affine, atol=1e-5)


@pytest.mark.parametrize("fixed_name", GRIDS)
def test_affine_round_trip(fixed_name, tmp_path):
    fixed, moving = Grid(*grid(fixed_name)), Grid(*grid("LAS"))
    write_fsl_affine(tmp_path / "a.mat", MATRIX, fixed, moving)
    again = read_fsl_affine(tmp_path / "a.mat", fixed, moving)
    np.testing.assert_allclose(again, MATRIX, atol=1e-8)


def test_an_image_on_itself_has_the_identity(tmp_path):
    for name in GRIDS:
        write_fsl_affine(tmp_path / "a.mat", np.eye(4), Grid(*grid(name)), Grid(*grid(name)))
        np.testing.assert_allclose(np.loadtxt(tmp_path / "a.mat"), np.eye(4), atol=1e-9)


def save(path, data, code: int):
    image = nib.Nifti1Image(data, np.diag([-2.0, 2, 2, 1]))
    image.header.set_intent(code, name="", allow_unknown=True)
    nib.save(image, path)
    return path


def test_fields_of_another_kind_are_refused(tmp_path):
    moving = Grid((4, 4, 4), np.eye(4))
    zero = np.zeros((6, 6, 6, 3), np.float32)
    for code, message in ((2007, "spline coefficients"), (0, "intent 0")):
        with pytest.raises(InputError, match=message):
            read_fsl_displacement(save(tmp_path / "w.nii", zero, code), moving)
    with pytest.raises(InputError, match="NaN"):
        read_fsl_displacement(save(tmp_path / "w.nii", zero + np.nan, 2006), moving)
    with pytest.raises(InputError, match="no such file"):
        read_fsl_displacement(tmp_path / "none.nii", moving)
    with pytest.raises(ValueError, match=r"\(X, Y, Z, 3\)"):
        write_fsl_displacement(tmp_path / "x.nii", zero[..., 0], np.eye(4), moving)


def test_absolute_coordinates_are_recognised(tmp_path):
    image = Grid((6, 7, 8), np.diag([-2.0, 2, 2, 1]))
    coordinates = np.abs(world_points(image)).astype(np.float32)
    path = save(tmp_path / "w.nii", coordinates, 2006)
    with pytest.raises(InputError, match="holds absolute coordinates: give a relative warp"):
        read_fsl_displacement(path, image)


@pytest.mark.parametrize("moving_name", GRIDS)
@pytest.mark.parametrize("fixed_name", GRIDS)
def test_absolute_coordinates_between_any_two_grids(fixed_name, moving_name, tmp_path):
    """Where the images' axes are permuted, they do not even change volumes by much."""
    fixed, moving = Grid(*grid(fixed_name)), Grid(*grid(moving_name))
    turned = Rotation.from_euler("xyz", [20, -15, 10], degrees=True).as_matrix() * 1.15
    points = world_points(fixed)
    middle = points.mean((0, 1, 2))
    there = (points - middle) @ turned.T + middle + 3 * np.sin(points / 15)
    path = tmp_path / "w.nii"
    write_fsl_displacement(path, there - points, fixed.affine, moving)
    found, _ = read_fsl_displacement(path, moving)
    np.testing.assert_allclose(found, there - points, atol=1e-3)
    image = nib.Nifti1Image.from_filename(path)
    coordinates = apply_affine(fsl_coordinates(moving), there).astype(np.float32)
    nib.save(nib.Nifti1Image(coordinates, image.affine, image.header), tmp_path / "absolute.nii")
    with pytest.raises(InputError, match="absolute coordinates"):
        read_fsl_displacement(tmp_path / "absolute.nii", moving)


def test_affines_of_another_kind_are_refused(tmp_path):
    some = Grid((4, 4, 4), np.eye(4))
    for text, message in (("1 2 3", "four rows"), ("a b", "four rows"), ("0 " * 16, "singular")):
        (tmp_path / "a.mat").write_text(text)
        with pytest.raises(InputError, match=message):
            read_fsl_affine(tmp_path / "a.mat", some, some)
    with pytest.raises(InputError, match="no such file"):
        read_fsl_affine(tmp_path / "none.mat", some, some)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_fslpy_gives_our_warped_image(fixed_name, moving_name, tmp_path):
    case = pair(fixed_name, moving_name)
    case.save(tmp_path)
    check_fslpy(case, tmp_path)


def check_fslpy(case, folder: Path) -> None:
    """fslpy's image, labels and points by the warp that we write are ours."""
    image = pytest.importorskip("fsl.data.image")
    fnirt = pytest.importorskip("fsl.transform.fnirt")
    nonlinear = pytest.importorskip("fsl.transform.nonlinear")
    path = folder / "fsl.nii.gz"
    write_fsl_displacement(path, case.displacement, case.fixed.affine, case.moving_grid)
    fixed, moving, labels = (
        image.Image(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving", "labels")
    )
    # Left to guess, it takes a relative warp between unlike voxel axes for an absolute one.
    field = fnirt.readFnirt(str(path), moving, fixed, defType="relative")
    case.check_image(nonlinear.applyDeformation(moving, field, order=1))
    case.check_labels(nonlinear.applyDeformation(labels, field, order=0))
    there = nonlinear.convertDeformationType(field, "absolute")
    absolute = nib.Nifti1Image(there.astype(np.float32), case.fixed.affine)
    absolute.header.set_intent(2006, name="", allow_unknown=True)
    nib.save(absolute, folder / "absolute.nii")
    with pytest.raises(InputError, match="absolute coordinates"):
        read_fsl_displacement(folder / "absolute.nii", case.moving_grid)
    # It looks vectors up at the nearest voxel: ask at voxels.
    some = tuple(slice(4, -4, 1 + size // 30) for size in case.fixed.shape)
    points = world_points(case.fixed_grid)[some].reshape(-1, 3)
    there = field.transform(points, "world", "world")
    np.testing.assert_allclose(there, case.transform(points), atol=1e-3)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_fslpy_reads_our_affine(fixed_name, moving_name, tmp_path):
    image = pytest.importorskip("fsl.data.image")
    flirt = pytest.importorskip("fsl.transform.flirt")
    case = pair(fixed_name, moving_name)
    case.save(tmp_path)
    write_fsl_affine(tmp_path / "a.mat", MATRIX, case.fixed_grid, case.moving_grid)
    fixed, moving = (image.Image(str(tmp_path / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    theirs = flirt.fromFlirt(flirt.readFlirt(str(tmp_path / "a.mat")), moving, fixed, "world")
    points = points_inside(case.fixed_grid)
    there = points @ MATRIX[:3, :3].T + MATRIX[:3, 3]
    np.testing.assert_allclose(there @ theirs[:3, :3].T + theirs[:3, 3], points, atol=1e-3)
