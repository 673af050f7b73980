"""What a run writes, and that a failure anywhere on the way leaves nothing.

The registration itself is canned: these are about the files.
"""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax import cli
from drivenmorph_jax.cli.register import report_lines
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    compression,
    displacement_files,
    load_volume,
    read_itk_affine,
    read_itk_displacement,
    save_volume,
    volume,
    warp_volume,
)
from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.pipeline import Method, register, register_files, results
from drivenmorph_jax.pipeline.derived_fields import derive_fields
from drivenmorph_jax.pipeline.formats import FORMAT_FILES
from drivenmorph_jax.pipeline.results import FILES, WARPED_LABELS
from tests.pipeline.canned import SPACING, canned

METHOD = Method("canned", SPACING, None, lambda *_: None, {})  # type: ignore[arg-type,return-value]


@pytest.fixture(scope="module")
def made():
    return canned("oblique", "thick")


@pytest.fixture(scope="module")
def fields(made):
    return derive_fields(made.registered, made.fixed, made.moving)


@pytest.fixture
def files(made, fields, tmp_path, monkeypatch):
    """Files of the pair; their registration is the canned one."""
    monkeypatch.setattr(register, "register_volumes", lambda *_, **__: made.registered)
    monkeypatch.setattr(register, "derive_fields", lambda *_: fields)
    paths = tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"
    for path, image in zip(paths, (made.fixed, made.moving), strict=True):
        save_volume(path, image)
    return paths


@pytest.fixture
def quick_figure(monkeypatch):
    monkeypatch.setattr(results, "write_figure", lambda *_, **__: None)


def test_the_parts_make_the_whole(made, files, tmp_path, quick_figure):
    out = tmp_path / "out"
    summary = register_files(*files, out, METHOD)
    assert {path.name for path in out.iterdir()} == (
        set(FILES) - {WARPED_LABELS, "figure.png", *FORMAT_FILES.values()}
    )

    warp, affine = read_itk_displacement(out / "warp.nii.gz")
    deformable, _ = read_itk_displacement(out / "deformable_warp.nii.gz")
    matrix = read_itk_affine(out / "affine.mat")
    index = np.argwhere(made.fixed.data != 0)
    x, at = apply_affine(affine, index), tuple(index.T)
    np.testing.assert_allclose(x + warp[at], apply_affine(matrix, x + deformable[at]), atol=1e-3)
    assert np.linalg.norm(deformable[at], axis=-1).max() > 2

    back, moving_affine = read_itk_displacement(out / "inverse_warp.nii.gz")
    assert back.shape[:3] == made.moving.shape
    np.testing.assert_allclose(moving_affine, made.moving.affine, atol=1e-4)
    consistency = summary["inverse_consistency"]
    for way in ("there_and_back", "back_and_there"):
        assert 0 < consistency[way]["mean_mm"] < consistency[way]["p99_mm"] < 0.3
    assert consistency["back_and_there"]["largest_mm"] < 0.1

    jacobian = load_volume(out / "jacobian.nii.gz").data[at]
    assert np.isclose(np.median(jacobian), np.linalg.det(matrix[:3, :3]), rtol=0.1)
    assert np.isclose(np.median(jacobian), summary["whole_map"]["jacobian"]["median"])
    for name in ("driving_force", "demons_step"):
        vectors = nib.load(out / f"{name}.nii.gz")
        assert vectors.shape == (*made.fixed.shape, 1, 3)
        assert np.linalg.norm(vectors.get_fdata(), axis=-1).max() > 0.05
    assert summary["replay"]["largest_difference"] < 1e-5
    assert json.loads((out / "summary.json").read_text()) == summary


@pytest.mark.tools
def test_ants_takes_the_parts_and_the_inverse(made, files, tmp_path, quick_figure):
    ants = pytest.importorskip("ants")
    out = tmp_path / "out"
    register_files(*files, out, METHOD)
    fixed, moving = (ants.image_read(str(path)) for path in files)

    def applied(onto, image, *names):
        transforms = [str(out / name) for name in names]
        moved = ants.apply_transforms(onto, image, transforms, whichtoinvert=[False] * len(names))
        return moved.numpy()

    ours, span = made.registered.warped.data, np.ptp(made.moving.data)
    core = (slice(1, -1),) * 3
    for names in (["warp.nii.gz"], ["deformable_warp.nii.gz", "affine.mat"]):
        theirs = applied(fixed, moving, *names)
        assert np.abs(theirs - ours)[core].max() < 2e-3 * span
    inverse = read_itk_displacement(out / "inverse_warp.nii.gz")
    expected = warp_volume(made.fixed, inverse[0], made.moving.affine).data
    theirs = applied(moving, fixed, "inverse_warp.nii.gz")
    assert np.abs(theirs - expected)[core].max() < 2e-3 * np.ptp(made.fixed.data)


def test_deformable_only_leaves_the_affine_out(made, files, tmp_path, quick_figure):
    determinant = np.linalg.det(made.registered.matrix[:3, :3])
    found = {}
    for only in (False, True):
        out = tmp_path / f"out{only}"
        register_files(*files, out, METHOD, deformable_only=only)
        image = nib.load(out / "jacobian.nii.gz")
        found[only] = image.get_fdata()
        assert (b"without the affine" in image.header["descrip"].item()) == only
    np.testing.assert_allclose(found[False], determinant * found[True], rtol=1e-5)


def test_the_summary_names_every_check(files, tmp_path, quick_figure):
    checks = register_files(*files, tmp_path / "out", METHOD)["quality"]
    names = [check["name"] for check in checks]
    assert len(names) == len(set(names)) == 15
    for check in checks:
        assert check["verdict"] in ("pass", "warn", "fail") and check["reason"]
        assert set(check) == {"name", "value", "unit", "limits", "verdict", "reason"}


def test_a_method_for_any_contrast_is_not_judged_by_brightness(files, tmp_path, quick_figure):
    any_contrast = METHOD._replace(any_contrast=True)
    found, told = {}, {}
    for name, method in {"one": METHOD, "any": any_contrast}.items():
        summary = register_files(*files, tmp_path / name, method)
        found[name] = {check["name"]: check for check in summary["quality"]}
        told[name] = report_lines(summary, tmp_path)[0]
    assert found["one"].keys() - found["any"].keys() == {"contrast"}
    assert found["one"]["similarity gain"]["unit"] == "correlation"
    assert found["any"]["similarity gain"]["unit"] == "nats of mutual information"
    assert told["one"].startswith("correlation ")
    assert re.match(r"mutual information 0\.\d+ after the affine, 0\.\d+ after all", told["any"])


def test_a_full_disk_at_any_file_leaves_nothing(files, tmp_path, monkeypatch):
    """The n-th file cannot be written, for every n: half-written, then gone."""
    before = sorted(tmp_path.rglob("*"))
    write, left = compression.write_nifti, [0]

    def full(image, path):
        left[0] -= 1
        if left[0] < 0:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        write(image, path)

    for module in (volume, displacement_files):
        monkeypatch.setattr(module, "write_nifti", full)
    monkeypatch.setattr(results, "write_figure", lambda *_, **__: None)
    images = 7
    for place in range(images):
        left[0] = place
        with pytest.raises(InputError, match="No space left on device") as raised:
            register_files(*files, tmp_path / "deep" / "out", METHOD)
        message = str(raised.value)
        assert f"{tmp_path / 'deep' / 'out'}/" in message and "\n" not in message
        assert ".drivenmorph-" not in message
        assert sorted(tmp_path.rglob("*")) == before
    left[0] = images
    register_files(*files, tmp_path / "deep" / "out", METHOD)  # there is no eighth


@pytest.mark.parametrize("damage", ["sign", "unreadable"])
def test_a_warp_that_says_something_else_is_not_kept(
    damage, files, tmp_path, monkeypatch, quick_figure, capsys
):
    write = results.write_itk_displacement

    def wrong(path, displacement, affine):
        write(path, -displacement, affine)
        if damage == "unreadable":
            path.write_bytes(path.read_bytes()[:200])

    monkeypatch.setattr(results, "write_itk_displacement", wrong)
    monkeypatch.setattr(cli.register, "make_method", lambda *_: METHOD)
    out = tmp_path / "out"
    arguments = ["register", *files, "--output", out, "--method", "demons"]
    assert cli.main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "nothing is kept" in error and "\n" not in error
    assert not out.exists() and not list(tmp_path.glob(".drivenmorph*"))


def test_the_last_line_is_the_verdict(files, tmp_path, monkeypatch, quick_figure, capsys):
    monkeypatch.setattr(cli.register, "make_method", lambda *_: METHOD)
    arguments = ["register", *files, "--output", tmp_path / "out", "--method", "demons"]
    assert cli.main([str(argument) for argument in arguments]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    # This brain is smaller than any adult's.
    assert last.startswith("quality: ") and ("warn" in last or "fail" in last)
