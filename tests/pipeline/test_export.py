"""Weights that leave a run are those that were trained, and say nothing of the machine."""

import jax
import numpy as np
import pytest

from drivenmorph_jax.cli import main
from drivenmorph_jax.config import parse_config
from drivenmorph_jax.model.weights import load_weights
from drivenmorph_jax.training.checkpoint import load_parameters
from drivenmorph_jax.training.experiment import train
from drivenmorph_jax.training.run_folder import commits_of

TINY = """
data: {shape: [8, 8, 8], phantom_training: 2, holdout: 0}
model:
  channels: [2]
  iterations: [0, 1]
  cross_attention: []
  self_attention: []
  residual_channels: [0]
  demon_channels: 2
loss: {similarity: mse, force_weight: 0.0, regularity_weight: 0.1}
training: {steps: 1, backend: single, evaluate_every: 0, tensorboard: false}
"""


@pytest.mark.slow
def test_exported_weights_are_the_trained_ones_and_name_no_path(tmp_path):
    run, output = tmp_path / "run", tmp_path / "weights"
    train(parse_config(TINY, [f"data.cache={tmp_path}"]), run)
    with (run / "starts.jsonl").open("a") as starts:
        starts.write('{"git_commit": "abc", "git_changed": true}\n')
    assert main(["export", str(run), "--output", str(output)]) == 0
    trained, exported = load_parameters(run, "latest"), load_weights(output)
    for one, other in zip(
        jax.tree.leaves(trained.params), jax.tree.leaves(exported.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert exported.model.channels == (2,)
    assert exported.metadata["step"] == 1
    assert exported.metadata["git_commits"] == [*commits_of(run)[:-1], "abc+"]
    again = tmp_path / "again"
    assert main(["export", str(run / "checkpoints"), "--output", str(again)]) == 0
    assert load_weights(again).metadata == exported.metadata
    assert str(tmp_path) not in (output / "config.yaml").read_text()

    more = ["export", str(run), "--output", str(tmp_path / "more"), "--iterations", "0", "3"]
    assert main(more) == 0
    found = load_weights(tmp_path / "more")
    assert found.model.iterations == (0, 3) and found.metadata["trained_iterations"] == [0, 1]
    assert main([*more[:3], str(tmp_path / "last"), "--correlation-iterations", "2"]) == 0
    last = load_weights(tmp_path / "last")
    assert last.model.correlation_iterations == (2,) and "correlation_0" in last.params["demons"]
    assert exported.model.precision == "float32"
    assert main([*more[:3], str(tmp_path / "half"), "--precision", "bfloat16"]) == 0
    assert load_weights(tmp_path / "half").model.precision == "bfloat16"
    program = [*more[:3], str(tmp_path / "program"), "--program", "8", "8", "8"]
    assert main(program) == 0
    assert {path.name for path in (tmp_path / "program").iterdir()} == {
        "config.yaml",
        "register.jax_export",
        "register.json",
        "weights.safetensors",
    }
    assert main([*program[:3], str(tmp_path / "program"), "--iterations", "0", "2"]) == 0
    assert {path.name for path in (tmp_path / "program").iterdir()} == {
        "config.yaml",
        "weights.safetensors",
    }, "a program of other weights stayed"
    assert main([*program[:3], str(tmp_path / "wrong"), *program[4:-1], "0"]) == 2
    assert main([*more[:3], str(tmp_path / "wrong"), "--iterations", "1", "3"]) == 2
    assert main([*more[:3], str(tmp_path / "wrong"), "--correlation-iterations", "-1"]) == 2
    assert not (tmp_path / "wrong").exists()


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and "none" in error
    assert not (tmp_path / "out").exists()
