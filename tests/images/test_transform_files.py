"""Formats by name and by ending."""

import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import FORMATS, Grid, Transform, read_transform, write_transform
from drivenmorph_jax.images.volume import load_geometry
from tests.images.geometries import GRIDS
from tests.images.pairs import MATRIX, pair, points_inside


@pytest.mark.parametrize("fixed_name", GRIDS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_transform(format, fixed_name, tmp_path):
    case = pair(fixed_name, "permuted")
    points = points_inside(case.fixed_grid)
    path = tmp_path / ("t.h5" if format == "h5" else "t.nii.gz")
    write_transform(path, case.transform, format=format, moving=case.moving_grid)
    again = read_transform(path, moving=case.moving_grid)
    np.testing.assert_allclose(again(points), case.transform(points), atol=1e-3)


@pytest.mark.parametrize("name", ["a.mat", "a.tfm", "a.txt", "a.lta", "a.h5", "a.nii", "A.NII.GZ"])
def test_the_ending_decides(name, tmp_path):
    case = pair("oblique", "LAS")
    images = {"fixed": case.fixed_grid, "moving": case.moving_grid}
    affine = Transform.from_matrix(MATRIX)
    write_transform(tmp_path / name, affine, **images)
    again = read_transform(tmp_path / name)
    assert (again.matrix is None) == ("nii" in name.lower())
    points = points_inside(case.fixed_grid)
    np.testing.assert_allclose(again(points), affine(points), atol=1e-4)


def test_a_chain_keeps_its_parts_only_in_h5(tmp_path):
    case = pair("oblique", "LAS")
    chain = case.transform.then(Transform.from_matrix(MATRIX))
    for name, count in (("t.h5", 2), ("t.nii.gz", 1)):
        write_transform(tmp_path / name, chain)
        again = read_transform(tmp_path / name)
        assert len(again.parts) == count
        points = case.fixed.affine[:3, :3] @ [7.0, 6, 5] + case.fixed.affine[:3, 3]
        np.testing.assert_allclose(again(points), chain(points), atol=1e-4)


def test_what_cannot_be_read_is_named(tmp_path):
    for name, message in (("none.h5", "no such file"), ("t.png", "known kind")):
        with pytest.raises(InputError, match=message):
            read_transform(tmp_path / name)
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_transform(tmp_path / "folder.nii")
    (tmp_path / "t.nii.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(InputError, match="not a readable NIfTI"):
        read_transform(tmp_path / "t.nii.gz")


def test_sheared_and_missing_grids(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.1
    zero = Transform.from_field(np.zeros((5, 5, 5, 3)), sheared)
    some = Grid((4, 4, 4), np.eye(4))
    for format in FORMATS:
        path = tmp_path / ("t.h5" if format == "h5" else "t.nii")
        with pytest.raises(InputError, match="sheared"):
            write_transform(path, zero, format=format, moving=some)
    with pytest.raises(InputError, match="needs voxels"):
        write_transform(tmp_path / "t.nii", Transform.from_matrix(MATRIX))
    assert not list(tmp_path.iterdir())


def test_geometry_by_the_header_alone(tmp_path):
    case = pair("oblique", "LAS")
    case.save(tmp_path)
    shape, affine = load_geometry(tmp_path / "fixed.nii.gz")
    assert shape == case.fixed.shape
    np.testing.assert_allclose(affine, case.fixed.affine, atol=1e-5)
    # Further axes, as of a field, are left out.
    write_transform(tmp_path / "w.nii", case.transform)
    assert load_geometry(tmp_path / "w.nii")[0] == case.fixed.shape
