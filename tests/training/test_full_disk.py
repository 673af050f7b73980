"""A disk that fills up while a run saves: one line, exit code 2, nothing lost; then it goes on."""

import os
import pathlib
import subprocess
import sys

import pytest

from drivenmorph_jax.training.checkpoint import load_parameters
from tests.training.test_experiment import CHECKOUT, COMPILED_QUICKLY, TINY

pytestmark = pytest.mark.slow

STEPS = 16


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 500 kB; given a size, it is made to have that."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a file system takes root")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    yield folder, resize
    subprocess.run(["umount", "-l", str(folder)], check=True)


def run(tmp_path: pathlib.Path, run_dir: pathlib.Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = [sys.executable, "train.py", "--config", str(tmp_path / "tiny.yaml"), "--resume"]
    command += ["--run-dir", str(run_dir), f"training.steps={STEPS}", "training.keep=100"]
    command += ["training.checkpoint_every=1", "training.evaluate_every=0"]
    environment = os.environ | {
        **COMPILED_QUICKLY,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA complains of slow compilation on a busy machine
    }
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )


def test_a_full_disk_ends_the_run_with_one_line_and_costs_it_nothing(small_disk, tmp_path):
    disk, resize = small_disk
    stopped = run(tmp_path, disk / "run")
    assert stopped.returncode == 2, stopped.stderr
    line, *others = stopped.stderr.splitlines()
    assert not others, stopped.stderr
    assert line.startswith("train.py: error: ")
    assert "cannot be written (No space left on device)" in line
    reached = load_parameters(disk / "run", "latest").step
    assert 1 <= reached < STEPS
    resize("50m")
    finished = run(tmp_path, disk / "run")
    assert finished.returncode == 0, finished.stderr
    assert f"resuming after step {reached}" in finished.stdout
    assert load_parameters(disk / "run", "latest").step == STEPS


def test_output_to_a_full_disk_ends_the_run_with_one_line(tmp_path):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = [sys.executable, "train.py", "--config", str(tmp_path / "tiny.yaml")]
    with pathlib.Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--run-dir", str(tmp_path / "run")],
            cwd=CHECKOUT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "train.py: error: No space left on device: make room, and --resume"
    ]
