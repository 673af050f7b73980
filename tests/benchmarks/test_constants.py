"""The scripts that judge constants: their cases, what they keep, and their tables."""

import json
import sys

import chex
import finer_constants
import half_constants
import jax.numpy as jnp
import numpy as np
import pytest
from constants import Study, kept_records, main, table
from imposed import impose
from judged import NOISE, Judged, deformed, painted_people
from painted import paint, painted_subjects
from records import Ledger

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.correlation_parameters import layer_of
from drivenmorph_jax.model.finer import FINER_COMPARISON, FINER_ITERATIONS, finer_layer
from drivenmorph_jax.pipeline import load_pretrained
from drivenmorph_jax.spatial.inverse import invert

SHAPE, SPACING = (40, 40, 40), 4.0
BRAIN = (abs(np.indices(SHAPE) - 19.5) <= 16).all(0)
IMAGE = np.where(BRAIN, 0.5 + 0.3 * np.sin(np.indices(SHAPE).sum(0) / 3), 0).astype(np.float32)
LARGE = ((25.0, 40.0), (12.0, 4.0))


def test_the_true_map_of_a_known_deformation_has_no_error_and_none_at_all_has_its_size():
    judged = deformed(IMAGE, 0, SPACING, [LARGE])
    imposed = impose(0, BRAIN, SPACING)
    nothing = judged.score(np.zeros((*SHAPE, 3), np.float32))
    assert nothing["error"] == pytest.approx(imposed.mean, rel=0.1) and nothing["sdlogj"] == 0
    truth = np.asarray(invert(jnp.asarray(imposed.displacement)).displacement)
    assert judged.score(truth)["error"] < 0.05
    # Noise on both, background on neither.
    noise = (judged.fixed - IMAGE)[BRAIN]
    assert noise.std() == pytest.approx(NOISE, rel=0.05)
    assert not judged.fixed[~BRAIN].any() and (judged.fixed[BRAIN] > 0).all()


def test_a_second_part_deforms_further():
    one, two = (deformed(IMAGE, 0, SPACING, [LARGE] * count) for count in (1, 2))
    nothing = np.zeros((*SHAPE, 3), np.float32)
    assert two.score(nothing)["error"] > 1.3 * one.score(nothing)["error"]


def run(monkeypatch, study: Study, folder, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["study.py", "--output", str(folder), *options])
    return main(lambda data: study)


@pytest.fixture
def study():
    """Three variants of a constant displacement, whose Dice is its length; and what has run."""
    zeros, ran = np.zeros((4, 4, 4), np.float32), []

    def find(name: str):
        ran.append(name)
        return np.full((4, 4, 4, 3), variants[name], np.float32)

    variants = {"none": 0.0, "released": 0.5, "far": 0.7}
    regular = {"folding_percent": 0.0, "ndv_percent": 0.0, "sdlogj": 0.1}
    judged = Judged(zeros, zeros, lambda u: {"dice": float(u[0, 0, 0, 0])} | regular)
    cases = {"people 1": lambda: judged, "people 2": lambda: judged}
    return Study("toy", 1, variants, cases, lambda fixed, moving: find), ran


def test_what_is_kept_is_not_run_again_and_told_against_the_released(
    study, tmp_path, monkeypatch, capsys
):
    made, ran = study
    assert run(monkeypatch, made, tmp_path, "--cases", "people 1") == 0
    assert ran == ["none", "released", "far"]
    assert run(monkeypatch, made, tmp_path, "--variants", "released") == 0
    assert ran[3:] == ["released"]
    lines = (tmp_path / "toy.md").read_text().splitlines()
    assert lines[2] == ("| none | 0.0000 | -0.5000 (-0.5000 to -0.5000) | 0.0000 | 0.1000 |")
    assert lines[3].startswith("| released | 0.5000 | – | 0.0000 | 0.1000 |")
    assert lines[-1].startswith("Pairs, people: 2. ")
    assert "Dice 0.7000" in capsys.readouterr().out
    # With another constant what is kept of the old one is not told.
    made.variants["far"] = 0.8
    keys = [json.loads(line)[0] for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    found = kept_records(made, Ledger(tmp_path / "toy.jsonl"))
    assert len(keys) == 4 and [r["variant"] for r in found] == ["none", "released", "released"]


def test_an_unknown_name_is_refused_with_those_there_are(study, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, study[0], tmp_path, "--variants", "wide")
    assert stopped.value.code == 2
    assert "--variants 'wide': there are 'none', 'released', 'far'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_each_variant_is_of_its_own(tmp_path):
    for script in (finer_constants, half_constants):
        told = [json.dumps(value) for value in script.make_study(tmp_path).variants.values()]
        assert len(set(told)) == len(told)
    assert table([], ["released"]).splitlines()[:3] == ["| variant |", "|---|", "| released |"]


def test_the_released_variants_are_what_the_library_does():
    finer, half = finer_constants.VARIANTS["released"], half_constants.VARIANTS["released"]
    assert finer == (FINER_COMPARISON, FINER_ITERATIONS)
    unsupervised, default = load_pretrained(finer_constants.WEIGHTS), load_pretrained()
    layer = finer_layer(unsupervised.params["demons"]["correlation_0"], unsupervised.config)
    chex.assert_trees_all_close(layer_of(finer.how.steps_at(0)), layer, rtol=1e-6)
    assert half.iterations == default.config.correlation_iterations[1]
    layer = default.params["demons"]["correlation_1"]
    chex.assert_trees_all_close(layer_of(half.steps), layer, rtol=1e-6)


def test_an_absent_label_map_is_named(tmp_path):
    with pytest.raises(InputError, match="label_maps"):
        painted_subjects(tmp_path / "none", ["training_seg_01"], 1.0)
    (tmp_path / "training_seg_05.nii.gz").touch()
    with pytest.raises(InputError, match="no training_seg_01 in"):
        painted_subjects(tmp_path, ["training_seg_01"], 1.0)


def test_paint_has_the_texture_that_it_is_said_to_have():
    tissue = np.zeros((40, 40, 40), np.float32)
    tissue[4:-4, 4:-4, 4:-4] = 0.9
    image = paint(tissue, 0)
    assert ((image > 0) == (tissue > 0)).all()
    inside = image[10:-10, 10:-10, 10:-10]
    assert inside.mean() == pytest.approx(0.9, abs=0.01)
    assert inside.std() == pytest.approx(np.hypot(0.035, 0.02), rel=0.05)
    assert (paint(tissue, 0) == image).all() and (paint(tissue, 1) != image).any()


@pytest.mark.slow
@pytest.mark.realdata
def test_painted_people_overlap_after_the_affine(real_data):
    judged = painted_people("01", "08", 2.0, real_data)
    dice = judged.score(np.zeros((*judged.fixed.shape, 3), np.float32))["dice"]
    assert 0.4 < dice < 0.75
    assert judged.fixed.shape == judged.moving.shape == (72, 88, 72)
    for image in (judged.fixed, judged.moving):
        assert not image[[0, -1]].any() and not image[:, [0, -1]].any()
