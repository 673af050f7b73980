"""The study's scripts: their tables, what they leave out, and that points are judged rightly."""

import argparse
import pathlib

import ablations
import accuracy
import cross_contrast
import numpy as np
import pytest
from contrast_pairs import Case, point_errors
from methods import UnavailableError, levels_alone, make_entry, named_folder, timed
from records import Ledger, digest, read_record, write_record

from drivenmorph_jax.config import load_config
from drivenmorph_jax.data import DataConfig, NativeLabels, Subject, load_validation
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.objective.metrics import folding_percent
from drivenmorph_jax.pipeline import load_pretrained, network_method

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "ixi_2mm.yaml"


def record(name: str, pair: int, dice: float):
    score = {"folding_percent": 0.0, "ndv_percent": 0.0, "sdlogj": 0.1, "hd95": 2.0}
    score |= {"dice": dice, "seconds": 1.5}
    return {"method": name, "fixed": f"s{pair}", "moving": f"s{pair + 1}", "score": score}


def test_ours_is_compared_with_every_other_on_the_pairs_of_both():
    rows = {
        "affine": [record("affine", pair, 0.5) for pair in range(5)],
        "drivenmorph": [record("drivenmorph", pair, 0.6 + 0.01 * pair) for pair in (4, 2, 3)],
    }
    lines = accuracy.make_comparison(rows, accuracy.METHODS).splitlines()
    assert lines[0].startswith("| Dice of ours: brain-t1 less that of | pairs |")
    assert lines[2].startswith("| affine only | 3 | +0.1300 | +0.1052 to +0.1548 | ")
    assert len(lines) == 3
    assert accuracy.make_comparison({"affine": rows["affine"]}, accuracy.METHODS) == ""
    titles = accuracy.titles_of(pathlib.Path("runs/mine"))
    assert titles["drivenmorph"] == "ours: mine" and titles["dipy_syn"] == "dipy SyN"
    assert titles["drivenmorph_labels"] == "ours: brain-t1-labels"


def test_the_worst_pair_is_told_of_each_of_ours_beside_the_means():
    rows = {
        name: [record(name, pair, 0.5) for pair in range(3)]
        for name in ("affine", "drivenmorph_labels", "drivenmorph")
    }
    rows["drivenmorph_labels"][1]["score"]["folding_percent"] = 0.0009
    rows["drivenmorph_labels"][2]["score"]["ndv_percent"] = 0.0028
    assert accuracy.worst_pairs(rows, accuracy.METHODS) == [
        "ours: brain-t1-labels, the worst pair: folding 0.0009 %, NDV 0.0028 %.",
        "ours: brain-t1, the worst pair: folding 0.0000 %, NDV 0.0000 %.",
    ]


def test_a_baseline_without_its_run_is_left_out_with_advice():
    with pytest.raises(UnavailableError, match="--baseline unet=DIR"):
        make_entry("unet", (2.0, 2.0, 2.0))
    with pytest.raises(UnavailableError, match="--baseline unet_labels=DIR"):
        make_entry("unet_labels", (2.0, 2.0, 2.0), baselines={"unet": pathlib.Path("runs/u")})
    with pytest.raises(UnavailableError, match="its weights are brain-t1-labels"):
        make_entry("drivenmorph_labels", (2.0, 2.0, 2.0), checkpoint=pathlib.Path("runs/mine"))
    with pytest.raises(argparse.ArgumentTypeError, match="write it as unet=DIR"):
        named_folder("unet")
    with pytest.raises(argparse.ArgumentTypeError, match="'affine=runs/u': write it as"):
        named_folder("affine=runs/u")
    assert named_folder("unet=runs/u") == ("unet", pathlib.Path("runs/u"))


def test_compilation_is_not_timed_and_happens_once_a_shape():
    calls = []
    run = timed(lambda f, m: f, warm_up=lambda f, m: calls.append(f.shape))
    for size in (4, 4, 5):
        image = np.zeros((size, 4, 4), np.float32)
        assert run(image, image)[0] is image
    assert calls == [(4, 4, 4), (5, 4, 4)]


def test_points_led_to_their_places_have_no_error():
    rng = np.random.default_rng(0)
    points = rng.integers(2, 8, (50, 3)).astype(float)
    displacement = rng.normal(size=(10, 10, 10, 3)).astype(np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] += 0.1 * rng.normal(size=(3, 3))
    matrix[:3, 3] = [1, -2, 3]
    there = points + displacement[tuple(points.astype(int).T)]
    places = there @ matrix[:3, :3].T + matrix[:3, 3]
    nothing = np.zeros((1, 1, 1))
    exact = Case(nothing, nothing, matrix, points, places)
    np.testing.assert_allclose(point_errors(displacement, exact), 0, atol=1e-5)
    beside = exact._replace(places=places + np.array([0, 3, 4]))
    np.testing.assert_allclose(point_errors(displacement, beside), 5, atol=1e-5)


def test_every_ablation_changes_one_thing_of_the_full_model():
    arguments = argparse.Namespace(config=CONFIG, steps=30, seed=2, overrides=[])
    full = ablations.config_of("full", arguments)
    assert full.training.steps == 30 and full.training.seed == 2
    assert full.model == load_config(CONFIG).model
    for name in set(ablations.VARIANTS) - {"full"}:
        config = ablations.config_of(name, arguments)
        changed = [part for part in ("model", "loss") if vars(config)[part] != vars(full)[part]]
        assert len(changed) == 1 and config.training == full.training
        one, other = (vars(vars(c)[changed[0]]) for c in (config, full))
        assert sum(one[key] != other[key] for key in one) == 1, name


def test_the_table_of_the_ablations_holds_those_that_are_done(tmp_path):
    def summary(dice):
        score = {"mean": dice, "std": 0.01}
        part = dict.fromkeys(("dice", "folding_percent", "ndv_percent", "seconds"), score)
        return {
            "parameters": 1234,
            "steps": 600,
            "seed": 0,
            "training_seconds": 99.0,
            "overrides": ["loss.lncc_window=9"],
            "machine": "a machine",
            "held_out": part | {"pairs": 6},
            "validation": part | {"pairs": 20},
        }

    write_record(tmp_path / "additive.json", summary(0.75))
    write_record(tmp_path / "full.json", summary(0.79))
    table = ablations.make_table(ablations.read_summaries(tmp_path)).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:4]] == ["all of it", "additive update"]
    assert "| 0.7500 ± 0.0100 | -0.0400 |" in table[3] and "| 1,234 |" in table[3]
    budget = "loss.lncc_window=9; 600 steps, seed 0, the last step's weights"
    assert table[-1] == f"{budget}; 6 and 20 pairs; a machine."


def test_records_are_named_after_all_that_they_depend_on(tmp_path):
    write_record(tmp_path / "folder" / "one.json", {"x": 1})
    assert read_record(tmp_path / "folder" / "one.json") == {"x": 1}
    image = np.zeros(3, np.float32)
    assert digest(1, {"a": 1}, image) == digest(1, {"a": 1}, image.copy())
    assert len({digest(1, {"a": 1}), digest(2, {"a": 1}), digest(1, {"a": 2})}) == 3


def test_a_ledger_keeps_what_it_is_given(tmp_path):
    path = tmp_path / "folder" / "method.jsonl"
    ledger = Ledger(path)
    assert "a" not in ledger and not path.exists()
    ledger.add("a", {"x": 1})
    ledger.add("b", {"x": [2.5, "y"]})
    ledger.add("a", {"x": 3})
    again, meanwhile = Ledger(path), Ledger(path)
    assert len(again) == 2 and [*again] == [{"x": 3}, {"x": [2.5, "y"]}]
    assert again.get("c") is None and again.get("a") == {"x": 3}
    meanwhile.add("d", {"x": 4})
    again.add("e", {"x": 5})
    assert again["d"] == {"x": 4}, "what another process adds is kept"
    assert "c" not in again and again["a"] == {"x": 3} and again["b"] == {"x": [2.5, "y"]}
    assert len(path.read_text().splitlines()) == 4


def test_a_table_has_the_kept_rows_of_methods_that_were_not_asked_for(tmp_path):
    data = load_validation(DataConfig(shape=(12, 12, 12), phantom_validation=3))
    arguments = argparse.Namespace(
        output=tmp_path, config=pathlib.Path("x.yaml"), pairs=2, checkpoint=None, baselines=()
    )
    asked = argparse.Namespace(**vars(arguments), methods=["affine", "classical_symmetric"])
    rows = accuracy.run_methods(data, asked, 1)
    for name in ("unet", "transmorph", "sitk_demons"):
        for place, one in enumerate(rows["affine"][: 1 if name == "transmorph" else 2]):
            accuracy.ledger_of(name, asked).add(f"older {place}", {**one, "method": name})
    kept, recorded = accuracy.kept_rows(data, asked, 1, without={"affine": rows["affine"]})
    assert kept.keys() == {"classical_symmetric"}
    one, other = kept["classical_symmetric"], rows["classical_symmetric"]
    assert [r["score"] for r in one] == [r["score"] for r in other] and len(one) == 2
    assert [r["method"] for r in recorded["unet"]] == ["unet"] * 2 and recorded.keys() == {"unet"}
    assert accuracy.kept_rows(data, asked, 2, without={})[0] == {}, "of other threads"
    text = accuracy.as_recorded(recorded, accuracy.METHODS)
    assert text == "As recorded, for these cannot run here: U-Net (VoxelMorph)."
    assert accuracy.as_recorded({}, accuracy.METHODS) == ""


def test_pairs_onto_a_subject_are_left_out_by_its_name():
    data = load_validation(DataConfig(shape=(12, 12, 12), phantom_validation=3))
    onto = [data.subjects[fixed].name for fixed, _ in data.pairs]
    kept = accuracy.without_pairs(data, [onto[1]])
    assert list(kept.pairs) == [data.pairs[0], data.pairs[2]]
    assert list(accuracy.without_pairs(data, []).pairs) == list(data.pairs)
    with pytest.raises(InputError, match=r"--leave-out nobody: .*there are"):
        accuracy.without_pairs(data, ["nobody"])


def test_a_map_that_folds_is_told_of_across_contrasts():
    fixed = np.ones((8, 8, 8), np.float32)
    folding = np.zeros((8, 8, 8, 3), np.float32)
    folding[..., 0] = -2 * np.arange(8)[:, None, None]
    points = np.full((4, 3), 3.0)
    case = Case(fixed, fixed, np.eye(4), points, points)
    entry = make_entry("affine", (1.0, 1.0, 1.0))
    flat, bent = (
        cross_contrast.run_pair(entry._replace(run=lambda f, m, u=u: (u, 1.0)), case)
        for u in (0 * folding, folding)
    )
    assert flat["folding_percent"] == flat["ndv_percent"] == flat["tre"] == 0
    assert bent["tre"] == pytest.approx(6)
    assert bent["folding_percent"] == pytest.approx(folding_percent(folding))
    assert bent["ndv_percent"] > 0


def test_across_contrasts_every_method_is_compared_with_the_other_tools():
    deformation = dict.fromkeys(("peak", "mean", "length", "determinant"), 1.0)
    records = [
        {
            "method": name,
            "contrast": contrast,
            "seed": seed,
            "tre": tre + 0.1 * seed,
            "deformation": deformation,
            "load_before": 1.0,
            "machine": "a machine",
            **dict.fromkeys(("tre_95", "folding_percent", "ndv_percent", "seconds"), 2.0),
        }
        for name, tre in (("ants_syn", 3.0), ("convex_adam", 2.0), ("drivenmorph", 1.0))
        for contrast in cross_contrast.CONTRASTS
        for seed in range(3)
    ]
    table = cross_contrast.make_table(records)
    assert table.count("| ours: DrivenMorph, brain-any | 3 | -2.00 | ") == 2
    assert table.count("| ours: DrivenMorph, brain-any | 3 | -1.00 | ") == 2
    assert table.count("| ANTs SyN, mutual information | 3 | +1.00 | ") == 2


def test_across_contrasts_what_is_not_asked_for_is_told_where_every_seed_of_it_is_kept(tmp_path):
    arguments = argparse.Namespace(output=tmp_path, seeds=2)
    entry = make_entry("affine", (1.0, 1.0, 1.0))
    cases = [(contrast, seed) for contrast in cross_contrast.CONTRASTS for seed in range(2)]
    for place, (contrast, seed) in enumerate(cases):
        kept = cross_contrast.kept_records([entry], ["convex_adam"], arguments, 1)
        assert not kept, f"{place} of {len(cases)} are kept"
        for name in ("affine", "convex_adam"):
            key = cross_contrast.key_of(entry._replace(name=name), contrast, seed, 1)
            record = {"method": name, "contrast": contrast, "seed": seed}
            cross_contrast.ledger_of(name, arguments).add(key, record)
    kept = cross_contrast.kept_records([entry], ["convex_adam"], arguments, 1)
    assert [record["method"] for record in kept] == ["affine"] * 4 + ["convex_adam"] * 4
    other = entry._replace(settings={"iterations": 1})
    assert not cross_contrast.kept_records([other], [], arguments, 1), "of other settings"


def test_demons_without_weights_sees_what_it_is_named_after():
    for sees in ("detail", "mind"):
        settings = make_entry(f"classical_{sees}", (1.0, 1.0, 1.0)).settings
        assert (settings["variant"], settings["sees"]) == ("symmetric", sees)
    settings = make_entry("classical_thirion", (1.0, 1.0, 1.0)).settings
    assert (settings["variant"], settings["sees"]) == ("thirion", "intensity")


def test_on_the_networks_own_grid_nothing_is_left_out_by_fast():
    with pytest.raises(UnavailableError, match="without _fast"):
        make_entry("drivenmorph_fast", (2.0, 2.0, 2.0))
    assert make_entry("drivenmorph_fast", (1.0, 1.0, 1.0)).settings["spacing"] == [2, 2, 2]


def test_a_subject_is_told_by_its_labels_and_not_by_the_last_bits_of_its_voxels():
    rng = np.random.default_rng(0)
    image, labels = rng.random((4, 5, 6), np.float32), rng.integers(0, 3, (4, 5, 6))
    native = NativeLabels(labels, np.eye(4))

    def key(**changes) -> str:
        subject = Subject("one", image, labels, native)._replace(**changes)
        return digest(1, *accuracy.identity(subject))

    assert key(image=image + np.float32(1e-6)) == key()
    others = [
        {"name": "two"},
        {"image": image[:3]},
        {"native": NativeLabels(1 - labels, np.eye(4))},
    ]
    assert len({key(), *(key(**change) for change in others)}) == 4


def test_the_levels_alone_are_kept_apart_from_the_whole_network():
    whole = load_pretrained("brain-t1")
    alone = levels_alone(whole)
    assert whole.config.correlation_iterations and not alone.config.correlation_iterations
    assert alone.sha256 == whole.sha256
    names = {network_method(found).details["weights"] for found in (whole, alone)}
    assert len(names) == 2, "pairs of both would be kept under one name"
