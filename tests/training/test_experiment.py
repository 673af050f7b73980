import json
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import yaml

from drivenmorph_jax.config import Config, load_config, parse_config
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.weights import save_weights
from drivenmorph_jax.training.checkpoint import load_parameters
from drivenmorph_jax.training.experiment import train

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

# The smallest model that has all stages: what takes time here is compilation.
TINY = """
data: {shape: [8, 8, 8], phantom_training: 4, holdout: 1}
model:
  channels: [2]
  iterations: [0, 1]
  cross_attention: []
  self_attention: []
  residual_channels: [0, 0]
  demon_channels: 2
loss: {similarity: mse, force_weight: 0.0, regularity_weight: 0.1}
training: {steps: 6, backend: single, log_every: 1, checkpoint_every: 3, evaluate_every: 6}
"""
# For a process of its own that trains it: most of its time is compilation.
COMPILED_QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """One program for all the runs of this module."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        jax.config.update("jax_compilation_cache_dir", folder)
        yield
        jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of six steps without interruption: its folder and outcome."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(parse_config(TINY), folder, profile="")


def test_a_run_resumed_from_its_middle_is_bit_identical(whole, tiny, tmp_path):
    folder, outcome = whole
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    (copy / "checkpoints" / "6").rename(tmp_path / "elsewhere")
    resumed = train(parse_config(TINY), copy, resume=True)
    tiny.assert_trees_equal(outcome.state, resumed.state)

    def losses(run):
        records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        return [record["loss"] for record in records if "loss" in record]

    assert losses(copy) == losses(folder)
    assert len(losses(copy)) == 6


def test_the_run_folder_describes_itself(whole):
    folder, outcome = whole
    assert load_config(folder / "config.yaml") == parse_config(TINY)
    start = json.loads((folder / "starts.jsonl").read_text())
    assert start["after_step"] == 0
    assert start["command"]
    assert start["versions"]["jax"]
    assert {"git_commit", "git_changed", "devices", "python"} <= start.keys()
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"evaluation/dice", "evaluation/dice_before", "evaluation/error_voxels"} <= records[
        -1
    ].keys()
    assert {"pairs_per_second", "voxels_per_second", "step_flops"} <= records[-2].keys()
    assert records[-2]["voxels_per_second"] == pytest.approx(
        512 * records[-2]["pairs_per_second"], rel=1e-5
    )
    assert "utilisation" not in records[-2]  # no peak of a CPU is known
    written = b"".join(path.read_bytes() for path in (folder / "tensorboard").iterdir())
    for name in ("fixed", "moving", "warped", "difference", "grid", "force"):
        assert f"evaluation/{name}".encode() in written
    assert list((folder / "profile").rglob("*.trace.json.gz"))
    weights = load_parameters(folder, "best")
    assert weights.step == int(outcome.state.step) == 6
    assert jax.tree.structure(weights.params) == jax.tree.structure(outcome.state.params)


def test_a_run_starts_from_the_weights_it_is_given(whole, tmp_path):
    params = whole[1].state.ema_params
    save_weights(tmp_path / "weights", params, parse_config(TINY).model)
    still = ["training.steps=1", "training.optimiser.learning_rate=0"]
    given = [*still, f"training.initial_weights={tmp_path / 'weights'}"]
    started = train(parse_config(TINY, given), tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, started.state.params, params)


def test_a_folder_in_use_is_only_continued_on_request(whole):
    with pytest.raises(InputError, match="already holds a run: add --resume"):
        train(parse_config(TINY), whole[0])


def test_resuming_with_another_model_is_refused(whole):
    other = parse_config(TINY, ["model.demon_channels=3"])
    with pytest.raises(InputError, match=r"model.demon_channels is 3, the checkpoint has 2"):
        train(other, whole[0], resume=True)


def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    run_dir = tmp_path / "run"
    command = [sys.executable, "train.py", "--config", str(tmp_path / "tiny.yaml")]
    command += ["--run-dir", str(run_dir), "training.steps=100000", "--resume"]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    metrics = run_dir / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    stopped = load_parameters(run_dir, "latest").step
    assert f"stopped by a signal after step {stopped}: continue with --resume" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "none.yaml"], "config none.yaml cannot be read"),
        (["--config", "{config}", "training.stepz=1"], "unknown key training.stepz"),
        (["--config", "{config}", "data.format=folder", "data.path=nowhere"], "nowhere"),
        (["--config", "{config}", "data.shape=[16, 16, 16]", "training.space=3"], "training.space"),
        (
            ["--config", "{config}", "data.shape=[16, 16, 16]", "training.best_metric=loss"],
            "training.best_metric is 'loss', but evaluation gives dice, ",
        ),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    config = tmp_path / "one.yaml"
    config.write_text(yaml.safe_dump({}))
    arguments = [argument.format(config=config) for argument in arguments]
    command = [sys.executable, str(CHECKOUT / "train.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("train.py: error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["training.backend=pmap", "training.accumulate=4"])
def test_the_real_model_trains_as_with_the_whole_batch_on_one_device(change, tmp_path):
    overrides = ["training.steps=2", "training.batch=8"]
    single = train(parse_config(TINY, overrides), tmp_path / "one")
    changed = train(parse_config(TINY, [*overrides, change]), tmp_path / "all")
    pairs = (jax.tree.leaves(run.state.opt_state) for run in (single, changed))
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-6)
    logs = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("one", "all")]
    losses = [[json.loads(line).get("loss", 0.0) for line in log] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_default_config_is_one_that_needs_no_data():
    assert Config().data.format == "phantom"
