import json
import sys

import jax
import yaml

from drivenmorph_jax.training.run_folder import describe_run, open_run_folder


def test_each_start_says_what_was_run_with_what_and_where(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "one.yaml"])
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setenv("SECRET_TOKEN", "never written")
    folder = open_run_folder(tmp_path / "run", resume=False)
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
    if start["git_commit"] is None:  # installed without a checkout
        assert start["git_changed"] is None
    else:
        assert len(start["git_commit"]) == 40 and start["git_changed"] in (True, False)
