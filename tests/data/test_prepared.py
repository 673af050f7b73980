"""Data prepared as arrays: the same subjects, pairs and labels as from the files."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from drivenmorph_jax.data import DataConfig, load_training, load_validation
from drivenmorph_jax.data.cache import PREPARATION_VERSION
from drivenmorph_jax.data.gathering import write_prepared
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.experiment import Config, train

ROOT = pathlib.Path(__file__).resolve().parents[2]


def prepared(cfg: DataConfig, folder: pathlib.Path) -> DataConfig:
    """Written to the folder, and a config that knows nothing but it."""
    write_prepared(cfg, folder, progress=lambda _: None)
    return DataConfig(
        prepared=str(folder),
        shape=cfg.shape,
        holdout=cfg.holdout,
        seed=cfg.seed,
        in_memory=cfg.in_memory,
    )


def assert_same(one, other):
    assert [s.name for s in one.subjects] == [s.name for s in other.subjects]
    assert one.pairs == other.pairs and one.label_table == other.label_table
    for a, b in zip(one.subjects, other.subjects, strict=True):
        np.testing.assert_array_equal(a.image, b.image, strict=True)
        assert (a.labels is None) == (b.labels is None)
        if a.labels is not None:
            np.testing.assert_array_equal(a.labels, b.labels, strict=True)
            np.testing.assert_array_equal(a.native.labels, b.native.labels, strict=True)
            np.testing.assert_array_equal(a.native.from_common, b.native.from_common)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("name", ["folder", "pairs_csv", "learn2reg", "ixi"])
def test_prepared_data_are_the_files_data(layout, tmp_path, name, in_memory):
    holdout = {"pairs_csv": 1, "learn2reg": 0}.get(name, 2)
    cfg = dataclasses.replace(layout(name), prealign=False, holdout=holdout, in_memory=in_memory)
    there = prepared(cfg, tmp_path / "arrays")
    files = *load_training(dataclasses.replace(cfg, in_memory=True)), load_validation(cfg)
    files = *files[:2], files[2]._replace(subjects=tuple(files[2].subjects))
    for path in tmp_path.iterdir():  # Nothing of them is read again.
        if path.name != "arrays":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    arrays = *load_training(there), load_validation(there)
    for from_files, from_arrays in zip(files, arrays, strict=True):
        assert_same(from_files, from_arrays)
    np.testing.assert_array_equal(files[2].affine, arrays[2].affine)


def test_without_validation_subjects(layout, tmp_path):
    cfg = dataclasses.replace(layout("pairs_csv"), prealign=False, holdout=1, validation_path=None)
    there = prepared(cfg, tmp_path / "arrays")
    assert_same(load_training(cfg)[0], load_training(there)[0])
    with pytest.raises(InputError, match="no validation subjects"):
        load_validation(there)


def test_label_maps_are_never_held_out(layout, tmp_path):
    cfg = dataclasses.replace(layout("folder"), prealign=False, holdout=2)
    maps = pathlib.Path(cfg.path) / "maps"
    maps.mkdir()
    for file in (pathlib.Path(cfg.path) / "train").glob("*_seg.nii.gz"):
        shutil.copy(file, maps / f"map_{file.name}")
    there = prepared(dataclasses.replace(cfg, label_maps=str(maps)), tmp_path / "arrays")
    drawn = set()
    for seed in range(8):
        training, held_out = load_training(dataclasses.replace(there, seed=seed))
        names = [subject.name for subject in training.subjects]
        held = [subject.name for subject in held_out.subjects]
        assert len(held) == 2 and all(name.startswith("case") for name in held)
        assert sum(name.startswith("map_") for name in names) == 4
        assert training.without_images == {name for name in names if name.startswith("map_")}
        drawn.add(tuple(held))
    assert len(drawn) > 1
    config = Config(data=there)
    with pytest.raises(InputError, match=r"arrays: they have no images: set training\.synthesis"):
        train(config, tmp_path / "run")


@pytest.fixture
def folder(layout, tmp_path):
    cfg = dataclasses.replace(layout("folder"), prealign=False, holdout=2)
    return prepared(cfg, tmp_path / "arrays")


def test_a_subject_that_is_gone_is_named(folder):
    file = pathlib.Path(folder.prepared) / "training" / "00001.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"00001\.npz is missing or damaged: prepare"):
        load_training(folder)


def test_a_subject_that_is_damaged_later_is_named(folder):
    training, _ = load_training(dataclasses.replace(folder, in_memory=False))
    for file in (pathlib.Path(folder.prepared) / "training").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"npz cannot be read: prepare the data again"):
        training.subjects[0]


def test_compressed_data_that_make_no_sense_are_damage_like_any_other(folder):
    training, _ = load_training(dataclasses.replace(folder, in_memory=False))
    for file in (pathlib.Path(folder.prepared) / "training").iterdir():
        content = bytearray(file.read_bytes())
        name, extra = (int.from_bytes(content[place : place + 2], "little") for place in (26, 28))
        content[30 + name + extra] = 0xFF  # A block of a kind that deflate does not have.
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"npz cannot be read: prepare the data again"):
        training.subjects[0]


def test_others_may_read_what_is_prepared_as_they_may_what_is_written(folder, tmp_path):
    (tmp_path / "written").write_text("")
    usual = (tmp_path / "written").stat().st_mode
    files = list((pathlib.Path(folder.prepared) / "training").iterdir())
    assert {file.stat().st_mode for file in files} == {usual}


def test_a_folder_that_cannot_be_written(layout, tmp_path):
    (tmp_path / "file").write_text("")
    cfg = dataclasses.replace(layout("folder"), cache=str(tmp_path / "kept"))
    with pytest.raises(InputError, match=r"cannot write .*: choose another folder"):
        write_prepared(cfg, tmp_path / "file" / "arrays")
    assert not (tmp_path / "kept").exists()  # Told before anything is prepared.


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", json.dumps({"version": [1, PREPARATION_VERSION]})]
)
def test_a_damaged_list(folder, text):
    (pathlib.Path(folder.prepared) / "prepared.json").write_text(text)
    with pytest.raises(InputError, match="damaged: prepare the data again"):
        load_training(folder)


def test_what_does_not_fit_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="holds no prepared data"):
        load_training(dataclasses.replace(folder, prepared=str(tmp_path / "none")))
    with pytest.raises(InputError, match=r"data\.shape is \[16, 16, 16\]"):
        load_training(dataclasses.replace(folder, shape=(16, 16, 16)))
    with pytest.raises(InputError, match=r"data\.spacing is \[1.0, 1.0, 1.0\]"):
        load_validation(dataclasses.replace(folder, spacing=(1.0, 1.0, 1.0)))
    with pytest.raises(InputError, match="nothing to prepare"):
        write_prepared(folder, tmp_path / "again")
    with pytest.raises(InputError, match="nothing to prepare"):
        write_prepared(DataConfig(), tmp_path / "phantoms")
    manifest = pathlib.Path(folder.prepared) / "prepared.json"
    document = json.loads(manifest.read_text())
    assert document["version"][1] == PREPARATION_VERSION
    for other in ([1, PREPARATION_VERSION - 1], [0, PREPARATION_VERSION]):
        manifest.write_text(json.dumps(document | {"version": other}))
        with pytest.raises(InputError, match="another version"):
            load_training(folder)


def test_a_folder_that_holds_data_is_left_alone(layout, folder):
    cfg = dataclasses.replace(layout("pairs_csv"), prealign=False)
    before = load_training(folder)[0]
    with pytest.raises(InputError, match="already holds prepared data"):
        write_prepared(cfg, pathlib.Path(folder.prepared))
    assert_same(before, load_training(folder)[0])


def test_train_without_images_or_a_package_that_reads_them(layout, tmp_path):
    cfg = dataclasses.replace(layout("folder"), prealign=False)
    config = tmp_path / "config.yaml"
    config.write_text(
        "data: {format: folder, path: $NOT_SET_THERE/x, labels: $NOT_SET_THERE/y.tsv, holdout: 2,\n"
        f"  shape: {list(cfg.shape)}, prealign: false}}\n"
        "model: {channels: [2], iterations: [0, 1], cross_attention: [], self_attention: [],\n"
        "  residual_channels: [0, 0], squarings: [0]}\n"
        "loss: {dice_weight: 1.0}\n"
        "training: {steps: 1, batch: 1, evaluate_every: 1, tensorboard: false}\n"
    )
    arrays, run = tmp_path / "arrays", tmp_path / "run"
    given = [f"data.path={cfg.path}", "data.labels=freesurfer"]
    command = [sys.executable, "train.py", "--config", config]
    subprocess.run([*command, "--prepare", arrays, *given], cwd=ROOT, check=True, timeout=300)
    blocked = (
        "import runpy, sys; sys.modules['nibabel'] = None; sys.argv = sys.argv[1:];"
        " runpy.run_path('train.py', run_name='__main__')"
    )
    rest = [*command[1:], "--run-dir", run, f"data.prepared={arrays}"]
    subprocess.run([sys.executable, "-c", blocked, *rest], cwd=ROOT, check=True, timeout=300)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("evaluation/dice" in row for row in rows)
    evaluated = [blocked.replace("train.py", "eval.py"), "eval.py", "--checkpoint", run]
    evaluated += ["--output", tmp_path / "out", "--limit", "1"]
    subprocess.run([sys.executable, "-c", *evaluated], cwd=ROOT, check=True, timeout=300)
    assert len((tmp_path / "out" / "pairs.csv").read_text().splitlines()) == 2
    for more, said in (((), "already holds prepared data"), (("--resume",), "by one process")):
        refused = subprocess.run(
            [*command, "--prepare", arrays, *more, *given],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert refused.returncode == 2 and said in refused.stderr
        assert "Traceback" not in refused.stderr
