"""Checkpoints on disk: written in the background, the last few and the best of them kept."""

import contextlib
import math
import pathlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import orbax.checkpoint as ocp

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.progress import Say
from drivenmorph_jax.training.checkpoint_folder import (
    Restored,
    latest_and_best,
    move_to_new_name,
    open_manager,
    read_checkpoint,
    read_scores,
    reason,
    remove_unfinished,
    saved_steps,
    unfinished_saves,
    write_checkpoint,
    write_scores,
)
from drivenmorph_jax.training.processes import is_lead, wait_for_all
from drivenmorph_jax.training.state import TrainState


class Weights(NamedTuple):
    """What using a trained model takes: averaged parameters, and the config as plain values."""

    params: Any
    config: dict[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one run, in one folder, named by their step.

    Each holds the whole `TrainState`, a JSON `progress` (the loader's position, seconds spent)
    and the run's config. A save is atomic: it appears under its name only when it is complete. One
    that fails, on a full disk for instance, ends the run: what it would train further could not be
    kept. As saves go on in the background, it may show in a later call.

    Args:
        folder: made if absent.
        keep: how many of the latest to keep, beside the one with the best score.

    Raises:
        InputError: the folder cannot be made or read; every method: a save has failed.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 3) -> None:
        self.folder = folder.absolute()
        self._scores = read_scores(self.folder)
        self._unfinished = sorted(unfinished_saves(self.folder))
        self._saving: int | None = None
        self._has_failed = False
        with self._failing_clearly():
            self._manager = open_manager(
                self.folder,
                cleanup_tmp_directories=True,
                preservation_policy=latest_and_best(keep, self.best_step),
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
        self.wait()
        self._saving = step
        with self._failing_clearly():
            write_checkpoint(self._manager, step, Restored(state, progress, config))

    def record_score(self, step: int, score: float) -> None:
        """Say how good the checkpoint of a step is: more is better, what is no number is not kept.

        Kept in a file beside the checkpoints, so that a step can be saved before it is evaluated.
        """
        if not math.isfinite(score):
            return
        self._scores[step] = score
        if is_lead():
            write_scores(self.folder, self._scores)

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

        One that cannot, or whose contents are not those that were saved, is named through `say`
        and, once an older one has been read, set aside in the sibling folder `unreadable/`, so that
        its step can be saved again. A save that was broken off is named too, and gone.

        Raises:
            InputError: there is no checkpoint, or none can be read.
        """
        for step in self._unfinished:
            say(
                f"checkpoint {self.folder / str(step)} was not finished when the run ended: removed"
            )
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        unreadable: list[int] = []
        cause: Exception | None = None
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = read_checkpoint(self._manager, step, target)
            except Exception as error:  # Orbax raises anything for a damaged file.
                say(f"checkpoint {self.folder / str(step)} cannot be read ({reason(error)})")
                unreadable.append(step)
                cause = cause or error
                continue
            self._set_aside(unreadable)
            return restored
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
                move_to_new_name(
                    self.folder / str(step), self.folder.parent / "unreadable" / str(step)
                )
        wait_for_all("unreadable checkpoints set aside")
        self._manager.reload()

    def wait(self) -> None:
        """Until everything is written."""
        with self._failing_clearly():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then let go of the folder."""
        try:
            with self._failing_clearly():
                self._manager.close()
        finally:
            if self._has_failed and is_lead():
                # Orbax writes in several threads: one may have gone on after another had failed.
                remove_unfinished(self.folder)

    @contextlib.contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        """What Orbax raises for a folder that cannot be written, as one line."""
        try:
            yield
        except Exception as error:
            self._has_failed = True
            if is_lead():
                remove_unfinished(self.folder)
            name = self.folder if self._saving is None else self.folder / str(self._saving)
            kept = saved_steps(self.folder)
            where = f"{self.folder / str(kept[-1])} is whole" if kept else "there is none before it"
            raise InputError(
                f"checkpoint {name} cannot be written ({reason(error)}), {where}: make room, or "
                "mend the folder, and --resume"
            ) from error


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
    steps = saved_steps(folder)
    if not steps:
        raise InputError(f"no checkpoint in {folder}: give the folder of a training run")
    scores = {step: score for step, score in read_scores(folder).items() if step in steps}
    if which == "best":
        step = max(scores, key=lambda s: scores[s]) if scores else max(steps)
    else:
        step = max(steps) if which == "latest" else which
    if step not in steps:
        raise InputError(f"no checkpoint {step} in {folder}: there are {steps}")
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    manager = open_manager(folder, read_only=True)
    try:
        saved = manager.item_metadata(step).state
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), saved
        )
        restored = read_checkpoint(manager, step, target)
    except Exception as error:
        raise InputError(
            f"checkpoint {folder / str(step)} cannot be read ({reason(error)}): choose another of "
            f"{steps}"
        ) from error
    finally:
        manager.close()
    # Without a state to read it into, it comes as a dict.
    state: Any = restored.state
    return Weights(state["ema_params"], restored.config, step)
