import json
import pathlib
import re
import sys

import jax
import pytest
import yaml

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.run_folder import check_run_folder, commits_of, describe_run

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def test_each_start_says_what_was_run_with_what_and_where(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "one.yaml"])
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setenv("SECRET_TOKEN", "never written")
    folder = check_run_folder(tmp_path / "run", resume=False)
    assert not folder.exists()
    folder.mkdir()
    describe_run(folder, {"training": {"steps": 3}}, first_step=0)
    describe_run(folder, {"training": {"steps": 5}}, first_step=3)
    assert yaml.safe_load((folder / "config.yaml").read_text()) == {"training": {"steps": 5}}
    text = (folder / "starts.jsonl").read_text()
    first, second = map(json.loads, text.splitlines())
    assert (first["after_step"], second["after_step"]) == (0, 3)
    assert first["time"] <= second["time"]
    assert first["command"] == ["train.py", "--config", "one.yaml"]
    assert first["environment"]["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert "never written" not in text
    assert first["versions"]["jax"] == jax.__version__
    assert first["versions"]["nibabel"] and "libtpu" not in first["versions"]
    assert first["device_count"] == len(first["devices"]) == 8
    assert first["processes"] == 1
    assert first["system"] and first["working_folder"]


def test_a_commit_is_told_with_whether_files_differ_from_it(tmp_path):
    describe_run(tmp_path, {}, first_step=0)
    start = json.loads((tmp_path / "starts.jsonl").read_text())
    if (CHECKOUT / ".git").exists():
        assert re.fullmatch("[0-9a-f]{40}", start["git_commit"])
        assert start["git_changed"] in (True, False)
    else:
        assert start["git_commit"] is None and start["git_changed"] is None


def test_the_commits_of_a_run_are_each_told_once(tmp_path):
    assert commits_of(tmp_path) == []
    told = [("a", False), ("b", True), (None, None), ("a", False), ("b", False)]
    lines = [json.dumps({"git_commit": c, "git_changed": changed}) for c, changed in told]
    (tmp_path / "starts.jsonl").write_text("\n".join([*lines, ""]))
    assert commits_of(tmp_path) == ["a", "b+", "b"]


def test_a_place_for_a_run_is_looked_at_before_anything_is_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match=r"cannot be made: .*file is not a folder"):
            check_run_folder(path, resume=True)
    (tmp_path / "run" / "checkpoints" / "3").mkdir(parents=True)
    assert check_run_folder(tmp_path / "run", resume=True) == tmp_path / "run"
    with pytest.raises(InputError, match="already holds a run: add --resume"):
        check_run_folder(tmp_path / "run", resume=False)
