"""The folder of a run: what was run, with what, and what came of it."""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax
import yaml

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.versions import version_of
from drivenmorph_jax.writing import write_atomically

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "nibabel")
# What JAX reaches accelerators through; those that are installed are told.
_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin", "jax-rocm7-plugin", "libtpu")
# Settings of the environment that change what is computed, or how.
_SETTINGS = ("JAX_", "XLA_", "LIBTPU_", "NVIDIA_TF32_")


def check_run_folder(folder: pathlib.Path, *, resume: bool) -> pathlib.Path:
    """The folder's whole path, if a run may be started or continued there; it is not made yet.

    Raises:
        InputError: it holds checkpoints and `resume` is false, or it cannot be written.
    """
    folder = user_path(folder).absolute()
    checkpoints = folder / "checkpoints"
    started = checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir())
    if started and not resume:
        raise InputError(
            f"{folder} already holds a run: add --resume to continue it, or choose another "
            "with --run-dir"
        )
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise InputError(f"run folder {folder} cannot be made: {there} is not a folder to write to")
    return folder


def describe_run(folder: pathlib.Path, document: dict[str, Any], *, first_step: int) -> None:
    """Write `config.yaml`, and a line in `starts.jsonl` for this start of the run.

    A line has the time, command, step, git commit (and whether files differ from it), versions,
    settings of the environment, system and devices (the kind of this process's, the number of
    all).

    Raises:
        InputError: no room, or no permission.
    """
    text = yaml.safe_dump(document, sort_keys=False)
    write_atomically(folder / "config.yaml", lambda path: path.write_text(text))
    record = {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
        "working_folder": str(pathlib.Path.cwd()),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(_SETTINGS)},
        "after_step": first_step,
        **_git_state(),
        "system": f"{platform.node()}: {platform.platform()}",
        "processes": jax.process_count(),
        "device_count": jax.device_count(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in ("drivenmorph-jax", *_PACKAGES)}
        | {name: version for name in _PLUGINS if (version := version_of(name))},
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.local_devices()],
    }
    starts = folder / "starts.jsonl"
    before = starts.read_text() if starts.exists() else ""
    text = before + json.dumps(record) + "\n"
    write_atomically(starts, lambda path: path.write_text(text))


def commits_of(folder: pathlib.Path) -> list[str]:
    """Of the code that a run was started and continued with, each once, "+" after one whose files
    were changed; empty where none is recorded."""
    path = folder / "starts.jsonl"
    starts = map(json.loads, path.read_text().splitlines() if path.is_file() else [])
    found = [s["git_commit"] + "+" * s["git_changed"] for s in starts if s.get("git_commit")]
    return list(dict.fromkeys(found))


def _git_state() -> dict[str, Any]:
    """Commit of the checkout that this code runs from, nulls where it is not one."""

    def git(*args: str) -> str | None:
        command = ["git", "-C", str(pathlib.Path(__file__).parent), *args]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"git_commit": commit, "git_changed": bool(changes) if commit else None}
