"""Our ITK files, read back by us and applied by SimpleITK, ANTs and greedy."""

import io
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    Transform,
    read_itk_affine,
    read_itk_displacement,
    read_transform,
    save_volume,
    write_itk_affine,
    write_itk_displacement,
)
from tests.images.geometries import GRIDS
from tests.images.pairs import MATRIX, NAMES, pair, points_inside, random_field, volume

LPS = np.array([-1, -1, 1])


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


@pytest.mark.parametrize("ending", ["mat", "tfm", "txt"])
@pytest.mark.parametrize("centre", [None, np.array([3.0, -4, 5])])
def test_affine_round_trip(ending, centre, tmp_path):
    path = tmp_path / f"a.{ending}"
    write_itk_affine(path, MATRIX, centre=centre)
    np.testing.assert_allclose(read_itk_affine(path), MATRIX, atol=1e-12)
    with pytest.raises(InputError, match="change the ending"):
        write_itk_affine(tmp_path / "a.csv", MATRIX)


BANNER = "#Insight Transform File V1.0\n#Transform 0\n"
NUMBERS = "Parameters: 1 0 0 0 1 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 0 0", "does not begin with"),
        (f"{BANNER}", "0 separate transforms"),
        (f"{BANNER}Transform: BSplineTransform_double_3_3\n{NUMBERS}", "BSpline.* not supported"),
        (f"{BANNER}Transform: AffineTransform_double_2_2\n{NUMBERS}", "not supported"),
        (f"{BANNER}Transform: AffineTransform_double_3_3\nParameters: 1 2\n", "too few"),
        (f"{BANNER}Transform: AffineTransform_double_3_3\nParameters: one\n", "words"),
        (f"{BANNER}Transform: AffineTransform_double_3_3\n{NUMBERS.replace('1', '0')}", "singular"),
        (f"{BANNER}Transform: AffineTransform_double_3_3\n{NUMBERS.replace('1', 'nan')}", "finite"),
    ],
)
def test_text_of_another_kind_is_refused(text, message, tmp_path):
    (tmp_path / "a.tfm").write_text(text)
    with pytest.raises(InputError, match=message):
        read_itk_affine(tmp_path / "a.tfm")


def test_affine_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.mat").write_text("1 0 0 0")
    with pytest.raises(InputError, match="readable"):
        read_itk_affine(tmp_path / "a.mat")
    with pytest.raises(InputError, match="no such file"):
        read_itk_affine(tmp_path / "none.mat")


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_simpleitk_gives_our_warped_image(fixed_name, moving_name, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    case = pair(fixed_name, moving_name)
    case.save(tmp_path)
    write_itk_displacement(tmp_path / "warp.nii.gz", case.displacement, case.fixed.affine)
    field = sitk.ReadImage(str(tmp_path / "warp.nii.gz"), sitk.sitkVectorFloat64)
    check_simpleitk(sitk, case, sitk.DisplacementFieldTransform(field), tmp_path)


def check_simpleitk(sitk, case, transform, folder: Path) -> None:
    """SimpleITK's image, labels and points by a transform that it has read are ours."""

    def resample(name, interpolator):
        images = [sitk.ReadImage(str(folder / f"{n}.nii.gz")) for n in (name, "fixed")]
        result = sitk.Resample(*images, transform, interpolator, 0.0)
        return sitk.GetArrayFromImage(result).transpose(2, 1, 0)

    case.check_image(resample("moving", sitk.sitkLinear))
    case.check_labels(resample("labels", sitk.sitkNearestNeighbor))
    points = points_inside(case.fixed_grid)
    there = [transform.TransformPoint((point * LPS).tolist()) * LPS for point in points]
    np.testing.assert_allclose(there, case.transform(points), atol=1e-3)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_ants_gives_our_warped_image(fixed_name, moving_name, tmp_path):
    ants = pytest.importorskip("ants")
    case = pair(fixed_name, moving_name)
    case.save(tmp_path)
    write_itk_displacement(tmp_path / "warp.nii.gz", case.displacement, case.fixed.affine)
    check_ants(ants, case, ["warp.nii.gz"], tmp_path)


def check_ants(ants, case, transforms: list[str], folder: Path) -> None:
    fixed, moving, labels = (
        ants.image_read(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving", "labels")
    )
    paths = [str(folder / name) for name in transforms]
    case.check_image(ants.apply_transforms(fixed, moving, paths).numpy())
    nearest = ants.apply_transforms(fixed, labels, paths, interpolator="nearestNeighbor")
    case.check_labels(nearest.numpy())


@pytest.mark.tools
def test_ants_applies_a_list_in_our_order(tmp_path):
    ants = pytest.importorskip("ants")
    case = pair("oblique", "thick")
    second = np.linalg.inv(MATRIX)
    write_itk_displacement(tmp_path / "warp.nii.gz", case.displacement, case.fixed.affine)
    write_itk_affine(tmp_path / "second.mat", second)
    chain = case._replace(transform=case.transform.then(Transform.from_matrix(second)))
    chain.save(tmp_path)
    check_ants(ants, chain, ["warp.nii.gz", "second.mat"], tmp_path)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_greedy_gives_our_warped_image(fixed_name, moving_name, tmp_path):
    greedy = pytest.importorskip("picsl_greedy").Greedy3D()
    case = pair(fixed_name, moving_name)
    case.save(tmp_path)
    write_itk_displacement(tmp_path / "warp.nii.gz", case.displacement, case.fixed.affine)
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("fixed", "moving", "labels", "warp")}
    images, labels = tmp_path / "linear.nii.gz", tmp_path / "nearest.nii.gz"
    greedy.execute(
        f"-d 3 -rf {files['fixed']} -ri LINEAR -rm {files['moving']} {images} "
        f"-ri NN -rm {files['labels']} {labels} -r {files['warp']}",
        out=io.StringIO(),
        err=io.StringIO(),
    )
    case.check_image(nib.Nifti1Image.from_filename(images).get_fdata())
    case.check_labels(nib.Nifti1Image.from_filename(labels).get_fdata())


@pytest.mark.tools
@pytest.mark.parametrize("ending", ["mat", "tfm"])
def test_simpleitk_reads_our_affine(ending, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    write_itk_affine(tmp_path / f"a.{ending}", MATRIX, centre=np.array([3.0, -4, 5]))
    save_volume(tmp_path / "fixed.nii.gz", volume("thick"))
    transform = sitk.ReadTransform(str(tmp_path / f"a.{ending}"))
    points = np.random.default_rng(0).normal(size=(5, 3)) * 30
    there = [transform.TransformPoint((point * LPS).tolist()) * LPS for point in points]
    np.testing.assert_allclose(there, Transform.from_matrix(MATRIX)(points), atol=1e-9)


@pytest.mark.tools
@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        *itertools.product(
            ["affine", "euler", "euler zyx", "versor", "similarity", "translation"],
            ["mat", "tfm", "h5"],
        ),
        ("composite", "tfm"),
        ("composite", "h5"),
    ],
)
def test_we_read_simpleitks_linear_transforms(kind, ending, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    theirs = linear(sitk, kind)
    sitk.WriteTransform(theirs, str(tmp_path / f"a.{ending}"))
    ours = read_transform(tmp_path / f"a.{ending}")
    assert ours.matrix is not None
    points = np.random.default_rng(0).normal(size=(5, 3)) * 30
    there = [theirs.TransformPoint((point * LPS).tolist()) * LPS for point in points]
    np.testing.assert_allclose(ours(points), there, atol=1e-6)


def linear(sitk, kind: str):
    centre, angles, shift = (3.0, -4, 5), (0.3, -0.2, 0.5), (7.0, 8, -9)
    if kind == "affine":
        return sitk.AffineTransform((*MATRIX[:3, :3].ravel(),), shift, centre)
    if kind.startswith("euler"):
        transform = sitk.Euler3DTransform(centre, *angles, shift)
        transform.SetComputeZYX(kind.endswith("zyx"))
        return transform
    if kind == "versor":
        return sitk.VersorRigid3DTransform((0.1, 0.2, -0.3, 0.9), shift, centre)
    if kind == "similarity":
        return sitk.Similarity3DTransform(1.2, (0.1, 0.2, -0.3, 0.9), shift, centre)
    if kind == "translation":
        return sitk.TranslationTransform(3, shift)
    return sitk.CompositeTransform([linear(sitk, "affine"), linear(sitk, "euler")])
