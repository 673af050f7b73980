"""eval.py from the outside."""

import csv
import json
import pathlib
import runpy
import sys

import jax
import pytest
import yaml

from drivenmorph_jax.model import ModelConfig, init
from drivenmorph_jax.model.weights import save_weights

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "eval.py"
MODEL = ModelConfig(
    channels=(8, 8),
    iterations=(0, 0, 1),
    cross_attention=(2,),
    self_attention=(),
    residual_channels=(0, 0, 4),
    squarings=(1, 1, 1),
)
DATA = {"format": "phantom", "shape": [16, 16, 16], "phantom_validation": 2}


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["eval.py", *map(str, arguments)])
        code = runpy.run_path(str(SCRIPT))["main"]()
        return code, capsys.readouterr()

    return run


@pytest.fixture
def weights(tmp_path):
    params = init(jax.random.key(0), MODEL)
    save_weights(tmp_path / "weights", params, MODEL, {"data": DATA})
    return tmp_path / "weights"


def test_released_weights(run, weights, tmp_path):
    output = tmp_path / "out"
    code, said = run("--checkpoint", weights, "--output", output, "--limit", 1, "data.seed=1")
    assert code == 0, said.err
    assert "dice" in said.out and "cosine_final" in said.out
    with (output / "pairs.csv").open() as file:
        (row,) = csv.DictReader(file)
    summary = json.loads((output / "summary.json").read_text())
    assert float(row["dice"]) == pytest.approx(summary["metrics"]["dice"]["mean"])
    assert summary["settings"]["data"]["seed"] == 1
    explanation = json.loads((output / "explain.json").read_text())
    assert list(explanation["levels"]) == ["level_2"]
    assert explanation["residual_zeroed"]["metrics"]["dice"]["mean"] > 0
    assert (output / "figure.png").stat().st_size > 10_000


def test_classical_demons_needs_no_checkpoint(run, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data": DATA}))
    output = tmp_path / "out"
    code, said = run("--method", "demons", "--data-config", config, "--output", output)
    assert code == 0, said.err
    assert len((output / "pairs.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --checkpoint DIR"),
        (("--checkpoint", "nowhere"), "no folder nowhere"),
        (("--checkpoint", "{weights}", "--step", "3"), "no --step"),
        (("--checkpoint", "{weights}", "data.shapes=[1]"), "did you mean data.shape"),
        (("--checkpoint", "{empty}"), "no checkpoint in"),
    ],
)
def test_bad_input_is_one_line(run, weights, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    filled = [a.format(weights=weights, empty=tmp_path / "empty") for a in arguments]
    code, said = run(*filled)
    assert code == 2
    assert said.err.startswith("eval.py: error: ") and message in said.err
    assert said.err.count("\n") == 1
