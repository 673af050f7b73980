"""Checkpoints on disk: written in the background, the last few and the best of them kept."""

import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    LatestN,
    PolicyCheckpointInfo,
    PreservationContext,
    PreservationPolicy,
)

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.progress import Say
from drivenmorph_jax.training.processes import is_lead, wait_for_all
from drivenmorph_jax.training.state import TrainState

_SCORES = "scores.json"


class Restored(NamedTuple):
    """A checkpoint read back: the state, and the JSON values saved with it."""

    state: TrainState
    progress: dict[str, Any]
    config: dict[str, Any]


class Weights(NamedTuple):
    """What using a trained model takes: averaged parameters, and the config as plain values."""

    params: Any
    config: dict[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one run, in one folder, named by their step.

    Each holds the whole `TrainState`, a JSON `progress` (the loader's position, seconds spent)
    and the run's config. A save is atomic: it appears under its name only when it is complete.

    Args:
        folder: made if absent.
        keep: how many of the latest to keep, beside the one with the best score.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 3) -> None:
        self.folder = folder.absolute()
        self._scores = _read_scores(self.folder)
        self._manager = _open(
            self.folder,
            cleanup_tmp_directories=True,
            preservation_policy=AnyPreservationPolicy([LatestN(keep), _Best(self.best_step)]),
        )

    def save(
        self,
        step: int,
        state: TrainState,
        *,
        progress: dict[str, Any],
        config: dict[str, Any],
    ) -> None:
        """Copy the state off the device, then write it in the background."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                progress=ocp.args.JsonSave(progress),
                config=ocp.args.JsonSave(config),
            ),
            force=True,
        )

    def record_score(self, step: int, score: float) -> None:
        """Say how good the checkpoint of a step is: more is better, what is no number is not kept.

        Kept in a file beside the checkpoints, so that a step can be saved before it is evaluated.
        """
        if not math.isfinite(score):
            return
        self._scores[step] = score
        if not is_lead():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / (_SCORES + ".partial")
        partial.write_text(json.dumps(self._scores))
        partial.replace(self.folder / _SCORES)

    def latest_step(self) -> int | None:
        """The newest step on disk, None where there is no checkpoint."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the best score, None where none was evaluated."""
        return max(self._scores, key=lambda step: self._scores[step], default=None)

    def read_config(self) -> dict[str, Any] | None:
        """The config saved with the newest checkpoint whose config can be read."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                args = ocp.args.Composite(config=ocp.args.JsonRestore())
                return self._manager.restore(step, args=args)["config"]
            except Exception:  # Orbax raises anything for a damaged file.
                continue
        return None

    def restore(self, like: TrainState, *, say: Say = print) -> Restored:
        """The newest checkpoint that can be read, in the shapes and on the devices of `like`.

        One that cannot is named through `say` and, once an older one has been read, set aside in
        the sibling folder `unreadable/`, so that its step can be saved again.

        Raises:
            InputError: there is no checkpoint, or none can be read.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        unreadable: list[int] = []
        cause: Exception | None = None
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                found = self._manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(target),
                        progress=ocp.args.JsonRestore(),
                        config=ocp.args.JsonRestore(),
                    ),
                )
            except Exception as error:  # Orbax raises anything for a damaged file.
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                say(f"checkpoint {self.folder / str(step)} cannot be read ({reason[:200]})")
                unreadable.append(step)
                cause = cause or error
                continue
            self._set_aside(unreadable)
            return Restored(found["state"], found["progress"], found["config"])
        if unreadable:
            raise InputError(
                f"none of the checkpoints in {self.folder} can be read: start again in another "
                "run folder, or restore this one from a copy"
            ) from cause
        raise InputError(f"no checkpoint in {self.folder}: check the run folder")

    def _set_aside(self, steps: list[int]) -> None:
        if not steps:
            return
        for step in steps:
            self._scores.pop(step, None)
            if is_lead():
                _move_to_new_name(
                    self.folder / str(step), self.folder.parent / "unreadable" / str(step)
                )
        wait_for_all("unreadable checkpoints set aside")
        self._manager.reload()

    def wait(self) -> None:
        """Until everything is written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then let go of the folder."""
        self.wait()
        self._manager.close()


class _Best(PreservationPolicy):
    """Keep the best of all checkpoints."""

    def __init__(self, best_step: Callable[[], int | None]) -> None:
        self._best_step = best_step

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: PreservationContext
    ) -> Sequence[bool]:
        best = self._best_step()
        return [checkpoint.step == best for checkpoint in checkpoints]


def load_parameters(
    folder: str | pathlib.Path, which: Literal["best", "latest"] | int = "best"
) -> Weights:
    """The averaged parameters of a run, on one device, whatever devices it was trained on.

    Args:
        folder: a run folder, or its `checkpoints` folder.
        which: a step, or "best" by the run's own score (the latest where nothing was evaluated).

    Raises:
        InputError: no such checkpoint, or it cannot be read.
    """
    folder = pathlib.Path(folder).absolute()
    folder = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    steps = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()]
    if not steps:
        raise InputError(f"no checkpoint in {folder}: give the folder of a training run")
    scores = {step: score for step, score in _read_scores(folder).items() if step in steps}
    if which == "best":
        step = max(scores, key=lambda s: scores[s]) if scores else max(steps)
    else:
        step = max(steps) if which == "latest" else which
    if step not in steps:
        raise InputError(f"no checkpoint {step} in {folder}: there are {sorted(steps)}")
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    manager = _open(folder, read_only=True)
    try:
        saved = manager.item_metadata(step).state
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), saved
        )
        found = manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target), config=ocp.args.JsonRestore()
            ),
        )
    except Exception as error:
        raise InputError(
            f"checkpoint {folder / str(step)} cannot be read: choose another of {sorted(steps)}"
        ) from error
    finally:
        manager.close()
    return Weights(found["state"]["ema_params"], found["config"], step)


def _move_to_new_name(source: pathlib.Path, target: pathlib.Path) -> None:
    count, name = 0, target.name
    while target.exists():
        count += 1
        target = target.with_name(f"{name}-{count}")
    target.parent.mkdir(exist_ok=True)
    source.rename(target)


def _open(folder: pathlib.Path, **options: Any) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        folder,
        item_handlers={
            "state": ocp.StandardCheckpointHandler(),
            "progress": ocp.JsonCheckpointHandler(),
            "config": ocp.JsonCheckpointHandler(),
        },
        options=ocp.CheckpointManagerOptions(**options),
    )


def _read_scores(folder: pathlib.Path) -> dict[int, float]:
    try:
        scores = json.loads((folder / _SCORES).read_text())
        return {int(step): float(score) for step, score in scores.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # None yet, or damaged: the checkpoints themselves do not depend on it.
