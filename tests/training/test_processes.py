"""Two processes with several devices each: the same run as one process on one device."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.checkpoint import load_parameters
from drivenmorph_jax.training.processes import join_processes
from tests.training.test_experiment import CHECKOUT, COMPILED_QUICKLY, TINY

# One worker for all: collectives time out where two such tests share two cores.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

OVERRIDES = ["training.batch=4", "training.backend=auto", "training.steps=8"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


def start(config, run_dir, *arguments, devices=2, overrides=OVERRIDES):
    command = [sys.executable, "train.py", "--config", str(config), "--run-dir", str(run_dir)]
    command += [*map(str, arguments), *overrides]
    environment = os.environ | {
        **COMPILED_QUICKLY,
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(config.parent / "compiled"),
    }
    return subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(config, run_dir, *arguments, devices=2, overrides=OVERRIDES):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    joint = ["--coordinator", coordinator, "--processes", 2, *arguments]
    return [
        start(config, run_dir, *joint, "--process", index, devices=devices, overrides=overrides)
        for index in (0, 1)
    ]


def finish(processes, timeout=300):
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert codes == [0] * len(processes), "\n".join(outputs)
    return outputs


def logged(run_dir, name):
    records = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [record[name] for record in records if name in record]


def assert_same_parameters(one, other, **tolerance):
    found = [jax.tree.leaves(load_parameters(run, "latest").params) for run in (one, other)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), **tolerance)


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("alone")
    finish([start(config, run_dir, devices=1)])
    return run_dir


def test_two_processes_train_as_one_does(config, alone, tmp_path):
    outputs = finish(start_two(config, tmp_path / "run"))
    assert "mesh on 4 cpu device(s) of 2 processes" in outputs[0]
    assert "step 8/8" in outputs[0] and "step" not in outputs[1]
    # The gradient's own norm: a factor in it would not show in the parameters, for Adam divides by
    # its size, and moves those whose gradient is nearly 0 by its rounding.
    for name in ("loss", "gradient_norm"):
        found = logged(tmp_path / "run", name)
        assert len(found) == 8 and found == pytest.approx(logged(alone, name), rel=1e-5)
    assert_same_parameters(tmp_path / "run", alone, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("devices", "settings"),
    [
        # Four groups of two devices, their state in parts; one volume over both processes.
        pytest.param(4, ["training.space=2", "training.shard_state=true"], id="4x2, sharded"),
        pytest.param(2, ["training.space=4"], id="1x4"),
    ],
)
def test_two_processes_with_split_volumes_train_as_one_does(
    config, alone, tmp_path, devices, settings
):
    overrides = [*OVERRIDES, *settings]
    finish(start_two(config, tmp_path / "run", devices=devices, overrides=overrides), timeout=600)
    for name in ("loss", "gradient_norm", "evaluation/dice"):
        found = logged(tmp_path / "run", name)
        assert found and found == pytest.approx(logged(alone, name), rel=1e-5)
    assert_same_parameters(tmp_path / "run", alone, rtol=0, atol=1e-3)


def test_a_killed_process_costs_no_step(config, tmp_path):
    """SIGKILL to one in mid-run, restart: bit for bit the end of a run that was not interrupted."""
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    overrides = [*OVERRIDES[:2], "training.steps=160", "training.checkpoint_every=20"]
    overrides += ["training.evaluate_every=0", "training.log_every=100"]
    processes = start_two(config, killed, overrides=overrides)
    while not (killed / "checkpoints" / "20").is_dir():
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGKILL)
    time.sleep(0.5)
    processes[0].kill()
    for process in processes:
        process.communicate()
    assert not (killed / "checkpoints" / "160").is_dir()
    output, _ = finish(start_two(config, killed, "--resume", overrides=overrides))
    assert "resuming after step" in output
    finish(start_two(config, straight, overrides=overrides))
    assert_same_parameters(killed, straight, rtol=0, atol=0)


def test_one_process_goes_on_where_two_stopped(config, tmp_path):
    run_dir = tmp_path / "run"
    finish(start_two(config, run_dir, overrides=[*OVERRIDES, "training.steps=4"]))
    more = [*OVERRIDES, "training.steps=6"]
    (output,) = finish([start(config, run_dir, "--resume", devices=1, overrides=more)])
    assert "resuming after step 4" in output and "single on 1 cpu" in output
    assert len(logged(run_dir, "loss")) == 6


def test_incomplete_arguments_are_refused():
    with pytest.raises(InputError, match="all 3"):
        join_processes("localhost:1", 2)
