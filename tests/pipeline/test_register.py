"""Whole registrations of files, and their results as other tools see them."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import load_labels, load_volume, read_itk_affine
from drivenmorph_jax.model import ModelConfig, init
from drivenmorph_jax.model.weights import save_weights
from drivenmorph_jax.pipeline import (
    demons_method,
    load_checkpoint,
    network_method,
    register_files,
    register_volumes,
)
from drivenmorph_jax.pipeline.results import FILES
from drivenmorph_jax.pipeline.summary import correlation
from tests.pipeline import quick
from tests.pipeline.brains import GRIDS, brain, write_pair

PAIRS = list(zip(GRIDS, [*list(GRIDS)[1:], next(iter(GRIDS))], strict=True))
TINY = ModelConfig(
    channels=(4, 4),
    iterations=(0, 1, 1),
    attention_channels=2,
    cross_attention=(2,),
    self_attention=(2,),
    token_channels=4,
    residual_channels=(0, 0, 2),
    squarings=(1, 1, 1),
)


@pytest.fixture(autouse=True)
def quick_search(monkeypatch):
    quick.quicken(monkeypatch)


@pytest.mark.tools
@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_simpleitk_applies_the_warp(fixed_name, moving_name, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    files = write_pair(tmp_path, fixed_name, moving_name)
    out = tmp_path / "out"
    labels = {name: files[name] for name in ("fixed_labels", "moving_labels")}
    summary = register_files(files["fixed"], files["moving"], out, quick.DEMONS, **labels)

    similarity, dice = summary["similarity"], summary["dice"]
    assert similarity["before"] < similarity["affine"] < similarity["after"]
    assert dice["before"] < 0.6 and min(dice["affine"], dice["after"]) > 0.8
    assert summary["deformation"]["folding_percent"] == 0

    field = sitk.ReadImage(str(out / "warp.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    fixed = sitk.ReadImage(str(files["fixed"]))
    for source, result, kind in (
        ("moving", "warped.nii.gz", sitk.sitkLinear),
        ("moving_labels", "warped_labels.nii.gz", sitk.sitkNearestNeighbor),
    ):
        moving = sitk.ReadImage(str(files[source]))
        theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, kind, 0.0))
        written = sitk.ReadImage(str(out / result))
        np.testing.assert_allclose(written.GetDirection(), fixed.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(written.GetOrigin(), fixed.GetOrigin(), atol=1e-4)
        ours = sitk.GetArrayFromImage(written)
        assert ours.shape == theirs.shape
        if kind == sitk.sitkLinear:
            assert np.abs(ours - theirs).max() < 1e-4 * np.ptp(theirs)
        else:
            # A point within rounding of half-way between voxels may go to either.
            assert (ours != theirs).mean() < 1e-3


def test_every_file_is_there_and_the_summary_is_complete(tmp_path):
    files = write_pair(tmp_path, "permuted", "thick")
    out = tmp_path / "deep" / "out"
    said = []
    labels = {name: files[name] for name in ("fixed_labels", "moving_labels")}
    register_files(
        files["fixed"],
        files["moving"],
        out,
        quick.DEMONS,
        **labels,
        formats=["fsl", "freesurfer", "h5"],
        command="drivenmorph register a b",
        say=said.append,
    )
    assert {path.name for path in out.iterdir()} == set(FILES)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["command"] == "drivenmorph register a b"
    assert summary["inputs"]["moving_labels"] == str(files["moving_labels"])
    assert summary["method"]["name"] == "demons"
    assert summary["versions"]["jax"]
    assert set(summary["dice"]["labels"]) == {"1", "2", "3", "4", "5", "6"}
    stages = ["read", "affine", "prepare", "deform", "resample", "invert", "measure"]
    stages += ["write", "replay"]
    assert list(summary["seconds"]) == stages == [*stages][: len(said)]
    deformation = summary["deformation"]
    assert 0 < deformation["mean_displacement_mm"] < deformation["largest_displacement_mm"] < 15
    np.testing.assert_allclose(read_itk_affine(out / "affine.mat"), summary["affine"], atol=1e-9)
    fixed = load_volume(files["fixed"])
    warped = load_volume(out / "warped.nii.gz")
    assert warped.shape == fixed.shape
    assert load_labels(out / "warped_labels.nii.gz").shape == fixed.shape
    after = summary["similarity"]["after"]
    assert correlation(fixed.data, warped.data) == pytest.approx(after, abs=1e-6)


def test_a_brain_onto_itself_stays():
    fixed = brain("plain")
    registered = register_volumes(fixed, fixed, quick.DEMONS)
    inside = fixed.data != 0
    assert np.linalg.norm(registered.displacement, axis=-1)[inside].mean() < 0.3
    assert correlation(fixed.data, registered.warped.data) > 0.99


def test_a_network_runs_on_the_grid_it_was_trained_on(tmp_path):
    params = init(jax.random.key(0), TINY)
    metadata = {"data": {"spacing": [3.0, 3.0, 3.0], "shape": [32, 32, 24]}}
    save_weights(tmp_path / "weights", params, TINY, metadata)
    method = network_method(load_checkpoint(tmp_path / "weights"))
    fixed, moving = brain("plain"), brain("permuted", other=True)
    registered = register_volumes(fixed, moving, method)
    assert registered.working.grid.shape == (32, 32, 24)
    assert registered.displacement.shape == (*fixed.shape, 3)
    assert np.isfinite(registered.displacement).all()
    assert registered.working.fixed.max() > 0.9
    assert not method.any_contrast


def test_a_network_that_compares_no_intensities_takes_any_contrasts(tmp_path):
    cfg = dataclasses.replace(TINY, sees="mind")
    save_weights(tmp_path / "weights", init(jax.random.key(0), cfg), cfg)
    assert network_method(load_checkpoint(tmp_path / "weights")).any_contrast


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    files = write_pair(tmp_path)
    before = sorted(tmp_path.iterdir())

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("drivenmorph_jax.images.compression._write", refuse)
    with pytest.raises(InputError, match="No space left"):
        register_files(files["fixed"], files["moving"], tmp_path / "a" / "b", quick.DEMONS)
    assert sorted(tmp_path.iterdir()) == before


def test_labels_of_one_image_only_are_refused(tmp_path):
    files = write_pair(tmp_path)
    with pytest.raises(InputError, match="--moving-labels"):
        register_files(
            files["fixed"],
            files["moving"],
            tmp_path / "out",
            demons_method(),
            fixed_labels=files["fixed_labels"],
        )
