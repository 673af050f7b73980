"""kill -9 at random moments of a run that saves all the time: no step is lost, none is changed."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import orbax.checkpoint as ocp
import pytest
import yaml

from drivenmorph_jax.training.checkpoint_folder import open_manager
from tests.training.test_experiment import CHECKOUT, COMPILED_QUICKLY, TINY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

TRAINING = {"checkpoint_every": 1, "log_every": 1, "evaluate_every": 0}

# Imports once, before any thread, then forks a process for each line: RUN_FOLDER. Each says its
# number, trains in that folder as `train.py --resume` does, and ends.
TEMPLATE = """
import os, sys
from drivenmorph_jax.config import load_config
from drivenmorph_jax.training.experiment import train
config = load_config(sys.argv[1])
assert len(os.listdir("/proc/self/task")) == 1
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(line.strip() + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        train(config, line.strip(), resume=True)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Trainer:
    """Starts runs by way of the template, one at a time."""

    def __init__(self, folder: pathlib.Path, steps: int) -> None:
        config = yaml.safe_load(TINY)
        config["training"] |= TRAINING | {"steps": steps, "backend": "single", "tensorboard": False}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", TEMPLATE, str(folder / "config.yaml")],
            cwd=CHECKOUT,
            env=os.environ
            | {
                **COMPILED_QUICKLY,
                "JAX_PLATFORMS": "cpu",
                "OPENBLAS_NUM_THREADS": "1",
                "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, run_dir: pathlib.Path) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{run_dir}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def trainer(tmp_path, steps):
    made = Trainer(tmp_path, steps)
    yield made
    made.close()


def newest(run_dir: pathlib.Path) -> int:
    names = [path.name for path in (run_dir / "checkpoints").glob("[0-9]*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def unfinished(run_dir: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").glob("*tmp*"))


def whole_state(run_dir: pathlib.Path, step: int) -> Any:
    """Parameters, their average, the optimiser's state, step and key, as they lie on disk."""
    manager = open_manager((run_dir / "checkpoints").absolute(), read_only=True)
    try:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(step, args=args)["state"]
    finally:
        manager.close()


@pytest.mark.parametrize(
    ("kills", "steps"), [(10, 50), pytest.param(20, 100, marks=pytest.mark.exhaustive)]
)
def test_no_moment_of_a_kill_costs_a_run_anything(kills, steps, trainer, tiny, tmp_path):
    rng = random.Random(0)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    trainer.start(straight)
    assert trainer.end() == 0, straight.with_suffix(".log").read_text()
    torn = []
    for kill in range(kills):
        before = newest(killed)
        log_size = killed.with_suffix(".log").stat().st_size if torn else 0
        process = trainer.start(killed)
        # After one to three new checkpoints: anywhere in the next steps, or in the next save.
        awaited = before + rng.randint(1, 3)
        while newest(killed) < awaited or (kill % 2 and not unfinished(killed)):
            os.kill(process, 0)  # raises where it has ended by itself
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05 if kill % 2 else 0.1))
        os.kill(process, signal.SIGKILL)
        assert trainer.end() == -signal.SIGKILL
        said = killed.with_suffix(".log").read_bytes()[log_size:].decode()
        # It went on from the newest checkpoint there was, and named the save that was broken off.
        assert before == 0 or f"resuming after step {before}" in said, said
        assert "cannot be read" not in said
        for name in torn[-1] if torn else []:
            step = name.split(".")[0]
            assert f"checkpoints/{step} was not finished when the run ended: removed" in said
        torn.append(unfinished(killed))
    # Without this the kills would have missed the saves.
    assert sum(map(bool, torn)) >= 0.15 * kills, torn
    trainer.start(killed)
    assert trainer.end() == 0
    assert newest(killed) == steps and unfinished(killed) == []

    tiny.assert_trees_equal(*(whole_state(run, steps) for run in (straight, killed)))
    # Every record is there once, whatever was written before a kill.
    records = (killed / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in records] == list(range(1, steps + 1))
