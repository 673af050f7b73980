"""Follow-up pairs: where the brain is, what of a map is scored, and that it is scored rightly."""

import argparse

import followup
import numpy as np
import pytest
from followup_pairs import STUDIES, Pair, brain_mask, load_brains, make_pair
from methods import Entry, UnavailableError

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def balls(*radii: float, shape=(60, 60, 60), spacing=(2.0, 2.0, 2.0)):
    """Distance in mm from the middle of the grid, below each radius."""
    steps = [(np.arange(n) - n / 2) * s for n, s in zip(shape, spacing, strict=True)]
    distance = np.sqrt(sum(part**2 for part in np.meshgrid(*steps, indexing="ij")))
    return [distance < radius for radius in radii]


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 1.0, 4.0)])
def test_the_brain_is_the_bright_body_within_the_head(spacing):
    shape = tuple(int(120 / s) for s in spacing)
    brain, bone, skin, ventricle = balls(40, 48, 53, 5, shape=shape, spacing=spacing)
    rng = np.random.default_rng(0)
    head = np.where(skin, 35.0, 0) - np.where(bone, 30.0, 0) + np.where(brain, 95.0, 0)
    head = np.where(ventricle, 10.0, head) + rng.normal(size=shape)
    found = brain_mask(Volume(head.astype(np.float32), np.diag([*spacing, 1.0]))).data > 0
    dice = 2 * (found & brain).sum() / (found.sum() + brain.sum())
    assert dice > 0.95
    assert found[ventricle].all()


def pair_of(fixed, moving) -> Pair:
    grid = Grid(fixed["t1w"].shape, AFFINE)
    return Pair("study1", "study2", grid, np.eye(4), fixed, moving)


def test_what_is_withheld_is_carried_by_the_same_map_and_scored_by_itself():
    rng = np.random.default_rng(1)
    (brain,) = balls(40)
    t1w, flair = (np.where(brain, rng.uniform(0.5, 1, brain.shape), 0) for _ in range(2))
    shifted = {"t1w": np.roll(t1w, 2, axis=0), "flair": np.roll(flair, 2, axis=0)}
    pair = pair_of({"t1w": t1w, "flair": flair}, shifted)
    still = np.zeros((*brain.shape, 3), np.float32)
    right = still + np.array([2, 0, 0], np.float32)
    before, after = (followup.score(pair, "t1w", field) for field in (still, right))
    assert before["withheld"] < 0.2 and before["seen"] < 0.2
    assert after["withheld"] == pytest.approx(1, abs=1e-6) and after["seen"] == pytest.approx(1)
    # A map that fits the registered contrast alone gains nothing on the other.
    wrong = pair_of(pair.fixed, {"t1w": shifted["t1w"], "flair": flair})
    found = followup.score(wrong, "t1w", right)
    assert found["seen"] == pytest.approx(1) and found["withheld"] < 0.2


def test_a_round_trip_through_opposite_steps_ends_where_it_began():
    (brain,) = balls(40)
    pair = pair_of(*[{"t1w": brain.astype(np.float32), "flair": brain.astype(np.float32)}] * 2)
    step = np.zeros((*brain.shape, 3), np.float32) + np.array([1.5, -1, 0.5], np.float32)
    there, back = pair.transform(step), pair.transform(-step)
    assert followup.round_trip(pair, there, back) == pytest.approx(0, abs=1e-5)
    # 2 mm a voxel.
    expected = 2 * 2 * np.linalg.norm([1.5, -1, 0.5])
    assert followup.round_trip(pair, there, there) == pytest.approx(expected, rel=1e-5)


def test_the_table_has_a_line_for_each_method_and_contrast():
    direction = dict.fromkeys(followup._COLUMNS, 0.5)
    records = [
        {
            "method": method,
            "contrast": contrast,
            "machine": "one machine",
            "load_before": 0.25,
            "directions": [direction | {"withheld": withheld} for withheld in (0.9, 0.8)],
        }
        for method in ("affine", "drivenmorph")
        for contrast in ("t1w", "flair")
    ]
    lines = followup.make_table(records).splitlines()
    assert lines[2].startswith("| affine only | t1w | 0.5000 | 0.8500 |")
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [
        *["affine only"] * 2,
        *["ours: brain-t1"] * 2,
    ]
    assert lines[-1].endswith("one machine; load at most 0.2.")


def test_what_is_recorded_is_not_run_again_and_told_where_it_cannot_run(
    tmp_path, monkeypatch, capsys
):
    (brain,) = balls(40)
    images = {name: np.where(brain, 0.5, 0).astype(np.float32) for name in followup.CONTRASTS}
    pairs = [pair_of(images, images)] * 2
    calls = []

    def stay(fixed, moving):
        calls.append(fixed)
        return np.zeros((*fixed.shape, 3), np.float32), 0.5

    def run(*asked: str):
        arguments = argparse.Namespace(
            output=tmp_path, methods=asked, checkpoint=None, baselines=[]
        )
        return followup.run("affine", pairs, arguments, 1)

    entry = Entry("affine", {"constant": 1}, stay)
    monkeypatch.setattr(followup, "make_entry", lambda *_, **__: entry)
    monkeypatch.setattr(followup, "score", lambda *_: {"withheld": 0.5})
    assert run("drivenmorph") == [] and not calls
    found = run("affine")
    assert [record["contrast"] for record in found] == list(followup.CONTRASTS)
    assert len(calls) == 4 and [len(record["directions"]) for record in found] == [2, 2]
    assert run("affine") == run("drivenmorph") == found and len(calls) == 4
    # Other settings are another method.
    entry = Entry("affine", {"constant": 2}, stay)
    assert run("drivenmorph") == []
    newer = run("affine")
    assert newer != found and len(calls) == 8

    def cannot(*_, **__):
        raise UnavailableError("not here")

    monkeypatch.setattr(followup, "make_entry", cannot)
    capsys.readouterr()
    assert run("drivenmorph") == newer
    assert "cannot run here, its records stand as they are: not here" in capsys.readouterr().out


def test_an_absent_study_is_named(tmp_path):
    with pytest.raises(InputError, match="study1_t1w"):
        load_brains(tmp_path, "study1")


@pytest.mark.slow
@pytest.mark.realdata
def test_the_real_studies_are_brains_that_an_affine_brings_together(real_data):
    brains = {study: load_brains(real_data / "followup", study) for study in STUDIES}
    for contrasts in brains.values():
        for volume in contrasts.values():
            litres = (volume.data != 0).sum() * np.prod(volume.spacing) / 1e6
            assert 1.1 < litres < 1.9
    pair = make_pair(brains, "study2", "study1")
    still = np.zeros((*pair.grid.shape, 3), np.float32)
    found = followup.score(pair, "t1w", still)
    assert found["seen"] > 0.6 and found["withheld"] > 0.6
