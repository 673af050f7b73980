"""Composite .h5 files, read back by us and applied by SimpleITK and ANTs."""

import h5py
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Transform, read_composite, write_composite
from tests.images.pairs import MATRIX, NAMES, pair, points_inside
from tests.images.test_itk import check_ants, check_simpleitk

SECOND = np.linalg.inv(MATRIX)


def chain_of(case):
    """A case whose transform has a field and an affine, which nearly cancel."""
    return case._replace(transform=case.transform.then(Transform.from_matrix(SECOND)))


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_round_trip(fixed_name, moving_name, tmp_path):
    case = chain_of(pair(fixed_name, moving_name))
    write_composite(tmp_path / "t.h5", case.transform)
    again = read_composite(tmp_path / "t.h5")
    assert [type(part) for part in again.parts] == [type(part) for part in case.transform.parts]
    np.testing.assert_array_equal(again.parts[0].displacement, case.transform.parts[0].displacement)
    np.testing.assert_allclose(again.parts[0].affine, case.fixed.affine, atol=1e-12)
    np.testing.assert_allclose(again.parts[1].matrix, SECOND, atol=1e-12)


def test_the_identity_is_an_affine(tmp_path):
    write_composite(tmp_path / "t.h5", Transform())
    np.testing.assert_allclose(read_composite(tmp_path / "t.h5").matrix, np.eye(4), atol=0)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_simpleitk_and_ants_give_our_warped_image(fixed_name, moving_name, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    ants = pytest.importorskip("ants")
    case = chain_of(pair(fixed_name, moving_name))
    case.save(tmp_path)
    write_composite(tmp_path / "t.h5", case.transform)
    check_simpleitk(sitk, case, sitk.ReadTransform(str(tmp_path / "t.h5")), tmp_path)
    check_ants(ants, case, ["t.h5"], tmp_path)


@pytest.mark.tools
def test_we_read_what_simpleitk_writes(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    case = chain_of(pair("oblique", "permuted"))
    write_composite(tmp_path / "ours.h5", case.transform)
    # In double precision, and with the names of ITK 5 spelt right.
    sitk.WriteTransform(sitk.ReadTransform(str(tmp_path / "ours.h5")), str(tmp_path / "theirs.h5"))
    points = points_inside(case.fixed_grid)
    again = read_composite(tmp_path / "theirs.h5")
    np.testing.assert_allclose(again(points), case.transform(points), atol=1e-5)


def damage(path, change) -> None:
    write_composite(path, pair("RAS", "LAS").transform)
    with h5py.File(path, "a") as file:
        change(file)


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


PARAMETERS, FIXED = (f"TransformGroup/1/Tranform{n}Parameters" for n in ("", "Fixed"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.__delitem__("TransformGroup"), "not a readable ITK transform"),
        (lambda file: file.__delitem__(PARAMETERS), "not a readable ITK transform"),
        (replace(PARAMETERS, np.zeros(30)), "too few or too many vectors"),
        (replace(PARAMETERS, np.full(20 * 24 * 18 * 3, np.nan)), "NaN"),
        (replace(FIXED, np.zeros(10)), "not three-dimensional"),
        (replace("TransformGroup/1/TransformType", ["BSplineTransform_double_3_3"]), "BSpline"),
    ],
)
def test_damage_is_named(change, message, tmp_path):
    damage(tmp_path / "t.h5", change)
    with pytest.raises(InputError, match=message):
        read_composite(tmp_path / "t.h5")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "t.h5").write_text("no HDF5")
    with pytest.raises(InputError, match="not a readable"):
        read_composite(tmp_path / "t.h5")
    with pytest.raises(InputError, match="no such file"):
        read_composite(tmp_path / "none.h5")
    with pytest.raises(InputError, match="change the ending"):
        write_composite(tmp_path / "t.nii", Transform())
