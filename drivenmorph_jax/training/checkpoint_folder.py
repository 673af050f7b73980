"""The folder that checkpoints lie in: how it is opened, and what faults leave behind in it."""

import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    LatestN,
    PolicyCheckpointInfo,
    PreservationContext,
    PreservationPolicy,
)

from drivenmorph_jax.training.checksum import checksum
from drivenmorph_jax.training.repeated_errors import silence_repeated_errors
from drivenmorph_jax.writing import write_atomically

_SCORES = "scores.json"
# Orbax saves under this name, and renames what is complete.
_UNFINISHED = re.compile(r"(\d+)\.orbax-checkpoint-tmp")
# Kept among the progress.
_CHECKSUM = "checksum"


class Restored(NamedTuple):
    """A checkpoint read back: the state, and the JSON values saved with it."""

    state: Any
    progress: dict[str, Any]
    config: dict[str, Any]


def open_manager(folder: pathlib.Path, **options: Any) -> ocp.CheckpointManager:
    """Orbax's manager of a folder: state, progress and config under each step."""
    silence_repeated_errors()
    return ocp.CheckpointManager(
        folder,
        item_handlers={
            "state": ocp.StandardCheckpointHandler(),
            "progress": ocp.JsonCheckpointHandler(),
            "config": ocp.JsonCheckpointHandler(),
        },
        options=ocp.CheckpointManagerOptions(**options),
    )


def write_checkpoint(manager: ocp.CheckpointManager, step: int, contents: Restored) -> None:
    """Start to save a state with its JSON values, and a checksum of all three."""
    sum_of_all = checksum(*contents)
    manager.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(contents.state),
            progress=ocp.args.JsonSave({**contents.progress, _CHECKSUM: sum_of_all}),
            config=ocp.args.JsonSave(contents.config),
        ),
        force=True,
    )


def read_checkpoint(manager: ocp.CheckpointManager, step: int, target: Any) -> Restored:
    """One checkpoint, in the shapes and on the devices of `target`; raises anything if damaged."""
    found = manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(target),
            progress=ocp.args.JsonRestore(),
            config=ocp.args.JsonRestore(),
        ),
    )
    progress = found["progress"]
    # Absent in checkpoints of before there was one.
    saved = progress.pop(_CHECKSUM, None)
    contents = Restored(found["state"], progress, found["config"])
    if saved is not None and saved != checksum(*contents):
        raise ValueError("its contents are not those that were saved: the checksum differs")
    return contents


def latest_and_best(keep: int, best_step: Callable[[], int | None]) -> PreservationPolicy:
    """Which checkpoints stay: the last few, and that of `best_step()`."""
    return AnyPreservationPolicy([LatestN(keep), _Best(best_step)])


class _Best(PreservationPolicy):
    def __init__(self, best_step: Callable[[], int | None]) -> None:
        self._best_step = best_step

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: PreservationContext
    ) -> Sequence[bool]:
        best = self._best_step()
        return [checkpoint.step == best for checkpoint in checkpoints]


def saved_steps(folder: pathlib.Path) -> list[int]:
    """Steps that there are checkpoints of, in order."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())


def unfinished_saves(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Saves that were broken off, by step."""
    paths = folder.iterdir() if folder.is_dir() else ()
    matches = [(_UNFINISHED.match(path.name), path) for path in paths]
    return {int(match.group(1)): path for match, path in matches if match}


def remove_unfinished(folder: pathlib.Path) -> None:
    """Give back the room that broken-off saves take."""
    for path in unfinished_saves(folder).values():
        shutil.rmtree(path, ignore_errors=True)


def move_to_new_name(source: pathlib.Path, target: pathlib.Path) -> None:
    """Rename a folder, with a number added where the name is taken."""
    count, name = 0, target.name
    while target.exists():
        count += 1
        target = target.with_name(f"{name}-{count}")
    target.parent.mkdir(exist_ok=True)
    source.rename(target)


def read_scores(folder: pathlib.Path) -> dict[int, float]:
    """Scores of the steps that were evaluated."""
    try:
        scores = json.loads((folder / _SCORES).read_text())
        return {int(step): float(score) for step, score in scores.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # None yet, or damaged: the checkpoints themselves do not depend on it.


def write_scores(folder: pathlib.Path, scores: dict[int, float]) -> None:
    """Keep the scores beside the checkpoints.

    Raises:
        InputError: no room, or no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _SCORES, lambda path: path.write_text(json.dumps(scores)))


def reason(error: BaseException) -> str:
    """What went wrong, in a few words; TensorStore hides the system's error in a long text."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return os.strerror(int(code.group(1)))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.split(r"\. (?=[A-Z])", first_line)[0][:200]
