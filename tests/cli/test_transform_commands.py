"""The commands on transforms: what they write, and one clear line for what they cannot use."""

import csv
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax import cli
from drivenmorph_jax.cli import (
    apply,
    command,
    compose,
    convert,
    invert,
    jacobian,
    transform_options,
)
from drivenmorph_jax.images import (
    Transform,
    Volume,
    invert_transform,
    load_volume,
    read_transform,
    save_volume,
    volume,
    write_transform,
)
from drivenmorph_jax.images.transform_files import FORMATS
from drivenmorph_jax.pipeline.formats import FORMAT_FILES
from tests.images.pairs import MATRIX, Pair, pair, points_inside

SECOND = np.linalg.inv(MATRIX)


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    monkeypatch.setattr(command, "_COMMANDS", (apply, invert, compose, jacobian, convert))


@pytest.fixture
def case(tmp_path, monkeypatch) -> Pair:
    """A pair in the current folder: fixed, moving, labels, warp.nii.gz, second.mat, points.csv."""
    monkeypatch.chdir(tmp_path)
    made = pair("oblique", "permuted")
    made.save(tmp_path)
    write_transform("warp.nii.gz", made.transform)
    write_transform("second.mat", Transform.from_matrix(SECOND))
    rows = [f"p{i},{x:.6f},{y:.6f},{z:.6f}" for i, (x, y, z) in enumerate(inside(made))]
    Path("points.csv").write_text("name, x, y, z\n" + "\n".join(rows) + "\n")
    return made


def inside(case: Pair) -> np.ndarray:
    return points_inside(case.fixed_grid)


def done(*arguments: str) -> None:
    assert cli.main(list(arguments)) == 0


def refused(capsys, *arguments: str) -> str:
    """The one line of an error, of a command that writes nothing."""
    before = sorted(Path().rglob("*"))
    try:
        code = cli.main(list(arguments))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert code == 2
    assert sorted(Path().rglob("*")) == before
    assert len(said.err.splitlines()) == 1 and said.err.startswith("drivenmorph: error: ")
    return said.err


def voxels(path: str) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj)


def read_points(path: str) -> tuple[list[str], np.ndarray]:
    with Path(path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["name"] for row in rows], np.array([[float(row[a]) for a in "xyz"] for row in rows])


TO_FIXED = ("--transforms", "warp.nii.gz", "--reference", "fixed.nii.gz")


@pytest.mark.parametrize(("name", "order"), [("linear", 1), ("cubic", 3)])
def test_apply_to_an_image(case, name, order):
    done("apply", "moving.nii.gz", *TO_FIXED, "--interpolation", name, "--output", "out.nii.gz")
    expected = case.transform.warp(case.moving, case.fixed_grid, order=order)
    np.testing.assert_allclose(voxels("out.nii.gz"), expected.data, atol=2e-4)
    header = nib.Nifti1Image.from_filename("out.nii.gz")
    np.testing.assert_allclose(np.asarray(header.affine), case.fixed.affine, atol=1e-5)


def test_apply_to_everything_at_once(case):
    save_volume("second.nii.gz", Volume(case.moving.data * 2, case.moving.affine))
    inputs = ("moving.nii.gz", "second.nii.gz", "--labels", "labels.nii.gz", "--points")
    done("apply", *inputs, "points.csv", *TO_FIXED, "--output", "out")
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "labels.nii.gz",
        "moving.nii.gz",
        "points.csv",
        "second.nii.gz",
    ]
    np.testing.assert_allclose(voxels("out/second.nii.gz"), 2 * voxels("out/moving.nii.gz"))
    moved = voxels("out/labels.nii.gz")
    assert moved.dtype == np.int32 and set(np.unique(moved)) == {0, 7}
    names, points = read_points("out/points.csv")
    assert names == [f"p{i}" for i in range(len(points))]
    np.testing.assert_allclose(points, case.transform(inside(case)), atol=1e-3)


def test_a_chain_goes_in_the_stated_order(case):
    transforms = ("--transforms", "warp.nii.gz", "second.mat")
    chain = case.transform.then(Transform.from_matrix(SECOND))
    done("apply", "--points", "points.csv", *transforms, "--output", "out.csv")
    np.testing.assert_allclose(read_points("out.csv")[1], chain(inside(case)), atol=1e-3)
    done("apply", "moving.nii.gz", *transforms, *TO_FIXED[2:], "--output", "out.nii.gz")
    expected = chain.warp(case.moving, case.fixed_grid).data
    np.testing.assert_allclose(voxels("out.nii.gz"), expected, atol=1e-4)

    # The same through one file.
    done("compose", "warp.nii.gz", "second.mat", "--output", "one.nii.gz")
    done("apply", "moving.nii.gz", "--transforms", "one.nii.gz", *TO_FIXED[2:], "--output", "b.nii")
    np.testing.assert_allclose(voxels("b.nii"), expected, atol=1e-4)


def test_inverse(case, capsys):
    done("apply", "--points", "points.csv", *TO_FIXED, "--output", "there.csv")
    back = ("--transforms", "warp.nii.gz", "--inverse")
    done("apply", "--points", "there.csv", *back, "--output", "back.csv")
    np.testing.assert_allclose(read_points("back.csv")[1], inside(case), atol=1e-3)

    done("invert", "warp.nii.gz", "--reference", "moving.nii.gz", "--output", "inverse.nii.gz")
    assert re.search(r"off by 0\.000\d mm \(mean\)", capsys.readouterr().out)
    expected = invert_transform(case.transform, case.moving_grid).transform
    inverse = read_transform("inverse.nii.gz")
    there = case.transform(inside(case))
    np.testing.assert_allclose(inverse(there), expected(there), atol=1e-3)

    reference = ("--reference", "moving.nii.gz")
    done("apply", "fixed.nii.gz", *back, *reference, "--output", "a.nii.gz")
    done("apply", "fixed.nii.gz", "--transforms", "inverse.nii.gz", *reference, "--output", "b.nii")
    np.testing.assert_allclose(voxels("a.nii.gz"), voxels("b.nii"), atol=1e-3)


def test_invert_and_compose_affines(case):
    done("invert", "second.mat", "--output", "first.tfm")
    np.testing.assert_allclose(read_transform("first.tfm").matrix, MATRIX, atol=1e-12)
    done("compose", "first.tfm", "second.mat", "--output", "both.h5")
    np.testing.assert_allclose(read_transform("both.h5").matrix, np.eye(4), atol=1e-12)


IMAGES = ("--fixed", "fixed.nii.gz", "--moving", "moving.nii.gz")


@pytest.mark.parametrize(
    ("format", "name"),
    [("itk", "w.nii"), ("fsl", "w.nii.gz"), ("freesurfer", "w.nii.gz"), ("h5", "w.h5")],
)
def test_convert_a_field_there_and_back(format, name, case):
    done("convert", "warp.nii.gz", "--format", format, *IMAGES, "--output", name)
    done("convert", name, *IMAGES, "--output", "again.nii.gz")
    np.testing.assert_allclose(voxels("again.nii.gz"), voxels("warp.nii.gz"), atol=1e-4)


@pytest.mark.parametrize(
    ("format", "name"),
    [("itk", "a.txt"), ("fsl", "a.mat"), ("freesurfer", "a.lta"), ("h5", "a.h5")],
)
def test_convert_an_affine_there_and_back(format, name, case):
    done("convert", "second.mat", "--format", format, *IMAGES, "--output", name)
    done("convert", name, *IMAGES, "--output", "again.mat")
    np.testing.assert_allclose(read_transform("again.mat").matrix, SECOND, atol=1e-7)


def test_jacobian(case):
    done("jacobian", "second.mat", "--reference", "fixed.nii.gz", "--output", "a.nii.gz")
    np.testing.assert_allclose(voxels("a.nii.gz"), np.linalg.det(SECOND[:3, :3]), rtol=1e-4)
    done("jacobian", "warp.nii.gz", "--output", "one.nii.gz")
    done("jacobian", "warp.nii.gz", "second.mat", "--output", "both.nii.gz")
    expected = voxels("one.nii.gz") * np.linalg.det(SECOND[:3, :3])
    np.testing.assert_allclose(voxels("both.nii.gz"), expected, rtol=1e-4)
    assert np.ptp(expected) > 0.1


@pytest.mark.tools
def test_jacobian_agrees_with_ants(case):
    ants = pytest.importorskip("ants")
    done("jacobian", "warp.nii.gz", "--output", "one.nii.gz")
    fixed = ants.image_read("fixed.nii.gz")
    theirs = ants.create_jacobian_determinant_image(fixed, "warp.nii.gz", geom=False).numpy()
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(voxels("one.nii.gz")[inner], theirs[inner], atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("apply moving.nii.gz --transforms none.nii.gz {to} --output o.nii", "no such file"),
        ("apply none.nii.gz --transforms warp.nii.gz {to} --output o.nii", "no such file"),
        ("apply moving.nii.gz --transforms moving.nii.gz {to} --output o.nii", "an ITK field is"),
        ("apply moving.nii.gz --transforms points.csv {to} --output o.nii", "known kind"),
        ("apply moving.nii.gz --transforms warp.nii.gz --output o.nii", "need --reference"),
        ("apply --transforms warp.nii.gz --output o.nii", "nothing to apply"),
        ("apply moving.nii.gz --transforms warp.nii.gz {to} --output fixed.nii.gz", "--overwrite"),
        ("apply moving.nii.gz --overwrite {w} {to} --output moving.nii.gz", "the input itself"),
        ("apply moving.nii.gz fixed.nii.gz {w} {to} --output o.nii", "one file for 2 inputs"),
        ("apply --points points.csv {w} --output o.nii", "points .csv"),
        ("apply --points second.mat {w} --output o.csv", "CSV"),
        ("apply --labels moving.nii.gz {w} {to} --output o.nii", "not whole numbers"),
        ("apply moving.nii.gz ./moving.nii.gz {w} {to} --output o", "written twice"),
        ("invert warp.nii.gz --output o.nii", "needs --reference"),
        ("invert warp.nii.gz --reference moving.nii.gz --output o.mat", "no affine"),
        ("invert second.mat --output o.nii", "needs voxels"),
        ("compose warp.nii.gz second.mat --output warp.nii.gz", "--overwrite"),
        ("compose second.mat --output none/o.mat", "cannot write"),
        ("jacobian second.mat --output o.nii", "needs --reference"),
        ("jacobian warp.nii.gz --output o.mgz", "change the ending"),
        ("jacobian warp.nii.gz --reference slice.nii --output o.nii", "give one of more slices"),
        ("compose warp.nii.gz --output fixed.nii.gz/o.h5", "cannot write"),
        ("invert empty.mat --fixed fixed.nii.gz {m} --output o.mat", "four rows of four numbers"),
        ("convert warp.nii.gz --format fsl --output o.nii", "add --moving"),
        ("convert warp.nii.gz --format h5 --output o.nii", "ends in .h5"),
        ("convert warp.nii.gz --output o.mat", "no affine"),
        ("convert second.mat --output o.lta", "--fixed and --moving"),
        ("convert warp.nii.gz --output o.csv", "known kind"),
        ("convert warp.nii.gz --format elastix --output o.nii", "invalid choice"),
    ],
)
def test_one_clear_line(arguments, message, case, capsys):
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 1), np.float32), np.eye(4)), "slice.nii")
    Path("empty.mat").write_text("")
    given = arguments.format(
        to="--reference fixed.nii.gz", w="--transforms warp.nii.gz", m=IMAGES[2] + " " + IMAGES[3]
    )
    assert re.search(message, refused(capsys, *given.split()))


@pytest.mark.parametrize("output", ["new/deep", "there"])
def test_all_of_several_files_or_none(output, case, capsys, monkeypatch):
    """The disk is full at the second; the first, which exists, stays as it was."""
    Path("there").mkdir()
    Path("there/moving.nii.gz").write_text("of before")
    write = volume.write_nifti

    def full(image, path):
        if "fixed" in path.name:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(image, path)

    monkeypatch.setattr(volume, "write_nifti", full)
    given = ("apply", "moving.nii.gz", "fixed.nii.gz", "--points", "points.csv", *TO_FIXED)
    given = (*given, "--output", output, "--overwrite")
    error = refused(capsys, *given)
    assert f"cannot write {output}/fixed.nii.gz: No space left on device" in error
    assert Path("there/moving.nii.gz").read_text() == "of before"
    monkeypatch.setattr(volume, "write_nifti", write)
    done(*given)
    assert {path.name for path in Path(output).iterdir()} == {
        *("moving.nii.gz", "fixed.nii.gz", "points.csv")
    }


def test_fsl_files_need_their_images(case, capsys):
    done("convert", "warp.nii.gz", "--format", "fsl", *IMAGES, "--output", "fsl.nii.gz")
    done("convert", "second.mat", "--format", "fsl", *IMAGES, "--output", "fsl.mat")
    capsys.readouterr()
    assert "--moving" in refused(capsys, "invert", "fsl.mat", "--output", "o.mat")
    assert "--moving" in refused(capsys, "jacobian", "fsl.nii.gz", "--output", "o.nii")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column x, y, z"),
        ("x,y,z\n1,2,three\n", "line 2: x, y, z are not numbers"),
        ("x,y,z\n1,2\n", "line 2: x, y, z are not numbers"),
        ("x,y,z\n1,2,nan\n", "NaN"),
        ("", "no column"),
    ],
)
def test_bad_points(text, message, case, capsys):
    Path("bad.csv").write_text(text)
    given = ("apply", "--points", "bad.csv", *TO_FIXED, "--output", "o.csv")
    assert message in refused(capsys, *given)


def test_points_without_an_inverse_are_told(case, capsys):
    fold = np.zeros((8, 8, 8, 3))
    fold[..., 0] = -2 * np.arange(8)[:, None, None]  # x ↦ −x, and constant beyond
    fold[..., 0] = np.minimum(fold[..., 0] + 4, 0)
    write_transform("fold.nii", Transform.from_field(fold, np.eye(4)))
    Path("one.csv").write_text("x,y,z\n2.9,3,3\n")
    done(
        "apply", "--points", "one.csv", "--transforms", "fold.nii", "--inverse", "--output", "o.csv"
    )
    assert "warning: 1 of 1 points have no exact inverse" in capsys.readouterr().out


def test_help_states_the_order(capsys):
    for name in ("apply", "compose", "jacobian"):
        with pytest.raises(SystemExit) as end:
            cli.main([name, "--help"])
        assert end.value.code == 0
        assert "goes through the first transform first" in capsys.readouterr().out


def test_loaded_image_is_the_written_one(case):
    done("apply", "moving.nii.gz", *TO_FIXED, "--output", "new/folder")
    assert load_volume("new/folder/moving.nii.gz").shape == case.fixed.shape


def test_the_formats_have_the_same_names_everywhere():
    assert transform_options._FORMATS == FORMATS == ("itk", *FORMAT_FILES)
