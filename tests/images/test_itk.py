"""Our ITK files, read back by us and applied by SimpleITK."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    Volume,
    read_itk_affine,
    read_itk_displacement,
    resample,
    save_volume,
    warp_volume,
    working_grid,
    world_displacement,
    write_itk_affine,
    write_itk_displacement,
)
from tests.images.geometries import GRIDS, affine, grid, smooth_image

MATRIX = np.array([[1.05, 0.1, 0, 2], [-0.08, 0.95, 0.02, -1], [0.03, 0, 1.1, 0.5], [0, 0, 0, 1.0]])
PAIRS = list(zip(GRIDS, [*list(GRIDS)[1:], next(iter(GRIDS))], strict=True))


def random_field(fixed: Volume) -> np.ndarray:
    """A smooth random deformation of some mm on a working grid, and MATRIX, as a world field."""
    box = working_grid(fixed, 2.5, multiple_of=4)
    noise = np.random.default_rng(1).normal(size=(*box.shape, 3))
    smooth = np.stack([ndimage.gaussian_filter(noise[..., a], 3) for a in range(3)], axis=-1)
    smooth *= 1.5 / np.abs(smooth).max()
    return world_displacement(smooth, box.affine, MATRIX, fixed.shape, fixed.affine)


def volume(name: str) -> Volume:
    shape, geometry = grid(name)
    return Volume(smooth_image(shape, geometry), geometry)


@pytest.mark.parametrize("name", GRIDS)
def test_displacement_round_trip_and_header(name, tmp_path):
    fixed = volume(name)
    field = random_field(fixed)
    write_itk_displacement(tmp_path / "warp.nii.gz", field, fixed.affine)
    image = nib.Nifti1Image.from_filename(tmp_path / "warp.nii.gz")
    assert image.shape == (*fixed.shape, 1, 3)
    assert image.get_data_dtype() == np.float32
    assert int(image.header["intent_code"]) == 1007
    np.testing.assert_allclose(np.asarray(image.affine), fixed.affine, atol=1e-5)
    again, geometry = read_itk_displacement(tmp_path / "warp.nii.gz")
    np.testing.assert_array_equal(again, field)
    np.testing.assert_allclose(geometry, fixed.affine, atol=1e-5)


def test_displacement_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(X, Y, Z, 3\)"):
        write_itk_displacement(tmp_path / "w.nii", np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(ValueError, match="NaN"):
        write_itk_displacement(tmp_path / "w.nii", np.full((4, 4, 4, 3), np.nan), np.eye(4))
    sheared = np.eye(4)
    sheared[0, 1] = 0.1
    with pytest.raises(InputError, match="sheared"):
        write_itk_displacement(tmp_path / "w.nii", np.zeros((4, 4, 4, 3)), sheared)
    assert not list(tmp_path.iterdir())
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), tmp_path / "w.nii")
    with pytest.raises(InputError, match="intent 0"):
        read_itk_displacement(tmp_path / "w.nii")
    with pytest.raises(InputError, match="no such file"):
        read_itk_displacement(tmp_path / "none.nii")


@pytest.mark.parametrize("centre", [None, np.array([3.0, -4, 5])])
def test_affine_round_trip(centre, tmp_path):
    write_itk_affine(tmp_path / "a.mat", MATRIX, centre=centre)
    np.testing.assert_allclose(read_itk_affine(tmp_path / "a.mat"), MATRIX, atol=1e-12)


def test_affine_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.mat").write_text("1 0 0 0")
    with pytest.raises(InputError, match="readable"):
        read_itk_affine(tmp_path / "a.mat")
    with pytest.raises(InputError, match="no such file"):
        read_itk_affine(tmp_path / "none.mat")


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_simpleitk_gives_our_warped_image(fixed_name, moving_name, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    fixed, moving = volume(fixed_name), volume(moving_name)
    labels = Volume((moving.data > 0.8).astype(np.int32) * 7, moving.affine)
    field = random_field(fixed)
    save_volume(tmp_path / "fixed.nii.gz", fixed)
    save_volume(tmp_path / "moving.nii.gz", moving)
    save_volume(tmp_path / "labels.nii.gz", labels)
    write_itk_displacement(tmp_path / "warp.nii.gz", field, fixed.affine)

    def read(name, *kind):
        return sitk.ReadImage(str(tmp_path / name), *kind)

    transform = sitk.DisplacementFieldTransform(read("warp.nii.gz", sitk.sitkVectorFloat64))
    pairs = [("moving.nii.gz", moving, sitk.sitkLinear), ("labels.nii.gz", labels, None)]
    edge = interior(fixed, moving, field)
    for name, image, interpolator in pairs:
        kind = interpolator or sitk.sitkNearestNeighbor
        theirs = sitk.Resample(read(name), read("fixed.nii.gz"), transform, kind, 0.0)
        theirs = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)
        ours = warp_volume(image, field, fixed.affine, order=1 if interpolator else 0).data
        if interpolator:
            assert np.abs(theirs - ours)[edge].max() < 1e-4 * np.ptp(moving.data)
            assert np.ptp(ours[edge]) > 0.5 * np.ptp(moving.data)
        else:
            # A point within rounding of half-way between voxels may go to either.
            assert (theirs != ours)[edge].mean() < 1e-3

    point = fixed.affine[:3, :3] @ np.array([7.0, 6, 5]) + fixed.affine[:3, 3]
    lps = np.array([-1, -1, 1])
    there = np.array(transform.TransformPoint((point * lps).tolist())) * lps
    np.testing.assert_allclose(there, point + field[7, 6, 5], atol=1e-3)


def interior(fixed: Volume, moving: Volume, field: np.ndarray) -> np.ndarray:
    """Where the sampled point lies between voxel centres of the moving image: borders differ."""
    index = np.stack(np.meshgrid(*map(np.arange, fixed.shape), indexing="ij"), axis=-1)
    world = index @ fixed.affine[:3, :3].T + fixed.affine[:3, 3] + field
    back = np.linalg.inv(moving.affine)
    voxels = world @ back[:3, :3].T + back[:3, 3]
    return np.all((voxels > 0.01) & (voxels < np.array(moving.shape) - 1.01), axis=-1)


@pytest.mark.tools
def test_simpleitk_reads_our_affine(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    fixed, moving = volume("thick"), volume("oblique")
    write_itk_affine(tmp_path / "a.mat", MATRIX, centre=np.array([3.0, -4, 5]))
    save_volume(tmp_path / "fixed.nii.gz", fixed)
    save_volume(tmp_path / "moving.nii.gz", moving)
    transform = sitk.ReadTransform(str(tmp_path / "a.mat"))
    images = [sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in ("moving", "fixed")]
    theirs = sitk.Resample(*images, transform, sitk.sitkLinear, 0.0)
    theirs = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)
    ours = resample(moving, fixed.shape, fixed.affine, matrix=MATRIX).data
    field = world_displacement(
        np.zeros((4, 4, 4, 3)),
        affine((9, 9, 9), shape=(4, 4, 4)),
        MATRIX,
        fixed.shape,
        fixed.affine,
    )
    edge = interior(fixed, moving, field)
    assert np.abs(theirs - ours)[edge].max() < 1e-4 * np.ptp(moving.data)
