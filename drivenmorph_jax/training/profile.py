"""A trace of a few steps, which TensorBoard's profiler and Perfetto open."""

import pathlib
from typing import Any

import jax

from drivenmorph_jax.errors import InputError

FOLDER = "profile"
_SKIPPED, _TRACED = 2, 3


class StepProfile:
    """Traces steps `first` to `last` into `RUN_DIR/profile`; every step passes through it."""

    def __init__(self, folder: pathlib.Path, first: int, last: int) -> None:
        self._folder, self._first, self._last = folder / FOLDER, first, last
        self._annotation: Any = None
        self._running = False

    def begin(self, step: int) -> None:
        """Before the step takes its batch."""
        if step == self._first:
            jax.profiler.start_trace(self._folder)
            self._running = True
        if self._running:
            self._annotation = jax.profiler.StepTraceAnnotation("step", step_num=step)
            self._annotation.__enter__()

    def end(self, step: int, metrics: Any) -> bool:
        """After the step was dispatched; true where the trace has just been written.

        Args:
            step: the number that `begin` was given.
            metrics: of this step; a traced step is waited for, so that the trace holds all of it.
        """
        if not self._running:
            return False
        jax.block_until_ready(metrics)
        self._annotation.__exit__(None, None, None)
        if step == self._last:
            self.close()
            return True
        return False

    def close(self) -> None:
        """Write what there is; nothing where no trace is running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()


def choose_steps(wanted: str, after: int, steps: int) -> tuple[int, int]:
    """The first and the last step to trace.

    Args:
        wanted: "FIRST:LAST", or "" for this start's third to fifth, in which nothing compiles.
        after: the step that this start continues after.
        steps: the run's last step.

    Raises:
        InputError: it is no such range, or this start does not run those steps.
    """
    if not wanted:
        first = min(after + _SKIPPED + 1, steps)
        return first, min(first + _TRACED - 1, steps)
    parts = wanted.split(":")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise InputError(f"--profile {wanted}: give FIRST:LAST, two numbers of steps, such as 3:5")
    first, last = (int(part) for part in parts)
    if not after < first <= last <= steps:
        raise InputError(
            f"--profile {wanted}: this start runs steps {after + 1} to {steps}: choose from these"
        )
    return first, last
