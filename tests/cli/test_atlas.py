"""The command `atlas`: the template's maps in the subject's space, as other tools bring them there.

The registration itself is canned but for the last test: the others are about what follows from it.
"""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.freesurfer.mghformat import MGHImage
from scipy import ndimage

from drivenmorph_jax import cli
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    Grid,
    Volume,
    invert_transform,
    load_labels,
    load_volume,
    read_itk_displacement,
    read_transform,
    resample,
    save_volume,
    working_grid,
)
from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.pipeline import atlas, demons_method, register, results
from drivenmorph_jax.pipeline.atlas import SUBJECT_SPACE
from drivenmorph_jax.pipeline.derived_fields import derive_fields
from drivenmorph_jax.pipeline.formats import FORMAT_FILES
from drivenmorph_jax.pipeline.results import FILES, WARPED_LABELS
from tests.pipeline.brains import brain_labels
from tests.pipeline.canned import canned
from tests.test_cli import refused

WRITTEN = set(FILES) - {WARPED_LABELS, "figure.png", *FORMAT_FILES.values()}


@pytest.fixture(scope="module")
def made():
    return canned("oblique", "thick")


@pytest.fixture(scope="module")
def fields(made):
    return derive_fields(made.registered, made.fixed, made.moving)


@pytest.fixture
def files(made, fields, tmp_path, monkeypatch) -> dict[str, Path]:
    """Template, its labels and maps, and an image; their registration is the canned one."""
    monkeypatch.setattr(register, "register_volumes", lambda *_, **__: made.registered)
    monkeypatch.setattr(register, "derive_fields", lambda *_: fields)
    monkeypatch.setattr(results, "write_figure", lambda *_, **__: None)
    labels = brain_labels("oblique")
    coarse = working_grid(labels, 3.0)
    smooth = ndimage.gaussian_filter(made.fixed.data, 1.5)
    volumes = {
        "template": made.fixed,
        "image": made.moving,
        "labels": labels,
        "coarse": resample(labels, *coarse, order=0),
        "gm": Volume(smooth, made.fixed.affine),
        "head": Volume(made.fixed.data + np.float32(0.5), made.fixed.affine),
        "elsewhere": Volume(labels.data, labels.affine + np.eye(4, k=3) * 900),
    }
    paths = {name: tmp_path / f"{name}.nii.gz" for name in volumes}
    for name, volume in volumes.items():
        save_volume(paths[name], volume)
    return paths


def run(files, output: Path, *options) -> None:
    given = ("atlas", files["template"], files["image"], "--output", output, *options)
    assert cli.main([str(argument) for argument in (*given, "--method", "demons")]) == 0


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.tools
def test_simpleitk_brings_the_same_through_the_inverse_warp(files, made, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    out = tmp_path / "out"
    discrete = "--template-labels", files["labels"], files["coarse"]
    run(files, out, *discrete, "--template-maps", files["gm"])

    read = sitk.ReadImage
    field = read(str(out / "inverse_warp.nii.gz"), sitk.sitkVectorFloat64)
    transform, image = sitk.DisplacementFieldTransform(field), read(str(files["image"]))
    for name, kind in (
        ("labels", sitk.sitkNearestNeighbor),
        ("coarse", sitk.sitkNearestNeighbor),
        ("gm", sitk.sitkLinear),
    ):
        theirs = sitk.Resample(read(str(files[name])), image, transform, kind, 0.0)
        theirs = sitk.GetArrayFromImage(theirs).T
        ours = nib.Nifti1Image.from_filename(out / SUBJECT_SPACE / f"{name}.nii.gz")
        np.testing.assert_allclose(np.asarray(ours.affine), made.moving.affine, atol=1e-5)
        ours = np.asarray(ours.dataobj)
        voxels = template_voxels(out, files["image"], files[name])
        size = np.array(nib.Nifti1Image.from_filename(files[name]).shape)
        inside = np.all((voxels > 0.01) & (voxels < size - 1.01), axis=-1)
        assert inside.mean() > 0.3
        if kind == sitk.sitkLinear:
            assert np.abs(ours - theirs)[inside].max() < 1e-4 * np.ptp(ours)
            assert np.ptp(ours[inside]) > 0.5
        else:
            inside &= ~np.any(np.abs(voxels % 1 - 0.5) < 1e-4, axis=-1)
            assert ours.dtype == np.int32 and set(np.unique(ours[inside])) == set(range(7))
            np.testing.assert_array_equal(ours[inside], theirs[inside])


def template_voxels(out: Path, image: Path, template_map: Path) -> np.ndarray:
    """Where the image's voxels lie among those of a map of the template."""
    displacement, affine = read_itk_displacement(out / "inverse_warp.nii.gz")
    index = np.moveaxis(np.indices(displacement.shape[:3]), 0, -1)
    there = apply_affine(affine, index) + displacement
    map_affine = np.asarray(nib.Nifti1Image.from_filename(template_map).affine, np.float64)
    return apply_affine(np.linalg.inv(map_affine), there)


def test_all_of_register_and_the_maps(files, made, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    labels = tmp_path / "aparc.mgz"
    nib.save(MGHImage(brain_labels("oblique").data, made.fixed.affine), labels)
    run(files, out, "--template-labels", labels, "--template-maps", files["gm"])
    assert names(out) == WRITTEN | {SUBJECT_SPACE}
    assert names(out / SUBJECT_SPACE) == {"aparc.nii.gz", "gm.nii.gz"}
    moved = load_labels(out / SUBJECT_SPACE / "aparc.nii.gz")
    assert moved.shape == made.moving.shape
    summary = json.loads((out / "summary.json").read_text())
    assert summary["command"].startswith("drivenmorph atlas ")
    assert summary["inputs"]["fixed"] == str(files["template"])
    said = capsys.readouterr()
    assert said.err == "" and f"writing {out}\n" in said.out and "quality: " in said.out

    # Again, over it: none of the maps of before is left, and nothing else is touched.
    (out / "notes.txt").write_text("mine")
    run(files, out, "--template-maps", files["gm"], "--overwrite", "--quiet")
    assert names(out) == WRITTEN | {SUBJECT_SPACE, "notes.txt"}
    assert names(out / SUBJECT_SPACE) == {"gm.nii.gz"}
    run(files, out, "--overwrite", "--quiet")
    assert names(out) == WRITTEN | {"notes.txt"}

    # Nor by `register`, which knows of no maps.
    run(files, out, "--template-maps", files["gm"], "--overwrite", "--quiet")
    register.register_files(files["template"], files["image"], out, demons_method(), overwrite=True)
    assert names(out) == WRITTEN | {"notes.txt"}
    assert capsys.readouterr().out == ""


def test_a_failure_at_the_last_map_leaves_nothing(files, tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        raise InputError("cannot write: No space left on device: choose another place")

    monkeypatch.setattr(atlas, "save_volume", refuse)
    out = tmp_path / "deep" / "out"
    given = ["atlas", files["template"], files["image"], "--output", out, "--method", "demons"]
    given += ["--template-maps", files["gm"]]
    before = sorted(tmp_path.rglob("*"))
    assert "No space left" in refused(capsys, given)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("none.nii.gz {image}", r"template none\.nii\.gz: no such file"),
        ("{template} none.nii.gz", r"image none\.nii\.gz: no such file"),
        ("{head} {image}", r"head\.nii\.gz: .* \(--template-mask, --mask\)"),
        ("{template} {head}", r"head\.nii\.gz: .* \(--template-mask, --mask\)"),
        ("{template} {image} --template-mask {coarse}", r"coarse\.nii\.gz: shape .* resample"),
        ("{template} {image} --mask {labels}", r"labels\.nii\.gz: shape .* resample"),
        ("{template} {image} --template-labels none.nii.gz", "template labels none.*no such file"),
        ("{template} {image} --template-labels {gm}", r"gm\.nii\.gz: .* not whole numbers"),
        ("{template} {image} --template-maps none.nii.gz", "template map none.*no such file"),
        ("{template} {image} --template-labels {elsewhere}", "shows nothing where the template is"),
        ("{template} {image} --template-labels {gm} {gm}", "not whole numbers"),
        ("{template} {image} --template-maps {gm} {gm}", "written twice: rename"),
        ("{template} {image} --template-labels {labels} --template-maps {labels}", "written twice"),
        ("{template} {image} --regularity -2", "give a number above 0"),
        ("{template} {image} --formats nii", "format nii: is not known: choose among itk, fsl"),
        ("{template} {image} --checkpoint none", "--method demons has no weights"),
        ("{template}", "IMAGE"),
    ],
)
def test_one_clear_line(arguments, message, files, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["atlas", *arguments.format(**files).split(), "--output", out, "--method", "demons"]
    assert re.search(message, refused(capsys, given, out))


def test_a_folder_that_is_not_empty(files, tmp_path, capsys):
    given = ["atlas", files["template"], files["image"], "--output", tmp_path]
    assert "--overwrite" in refused(capsys, given)


GREY = (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 13, 52, 17, 53, 18, 54, 26, 58)


@pytest.mark.realdata
@pytest.mark.slow
def test_grey_matter_of_mni_lies_on_a_persons(real_data, tmp_path):
    template, person = real_data / "template", real_data / "ixi_2mm" / "val" / "IXI015"
    grey, white = (template / f"mni152_2009a_{tissue}.nii.gz" for tissue in ("gm", "wm"))
    tissues = [load_volume(path) for path in (grey, white)]
    brain = ndimage.binary_fill_holes(tissues[0].data + tissues[1].data > 127)
    mask = tmp_path / "mask.nii.gz"
    save_volume(mask, Volume(brain, tissues[0].affine))
    out, image = tmp_path / "out", Path(f"{person}_t1.nii.gz")
    given = ["atlas", template / "mni152_2009a_t1.nii.gz", image, "--template-mask", mask]
    given += ["--template-maps", grey, "--output", out]
    assert cli.main([str(argument) for argument in given]) == 0

    scan = load_volume(image)
    inside = scan.data != 0
    own = np.isin(load_labels(f"{person}_seg.nii.gz").data, GREY)[inside]
    moved = load_volume(out / SUBJECT_SPACE / grey.name).data[inside]
    back = invert_transform(read_transform(out / "affine.mat")).transform
    straight = back.warp(tissues[0], Grid(scan.shape, scan.affine)).data[inside]
    affine, all_of_it = (np.corrcoef(own, other)[0, 1] for other in (straight, moved))
    print(f"correlation of grey matter: affine {affine:.3f}, all {all_of_it:.3f}")
    assert all_of_it > affine + 0.03
