"""What a run says while it goes: JSON lines, TensorBoard, and a bar or plain lines."""

import contextlib
import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

from jaxtyping import UInt8
from numpy import ndarray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.processes import is_lead
from drivenmorph_jax.writing import write_atomically


class Reporter(Protocol):
    """Where progress goes. `note` is for a line about an event, `advance` for a logged step."""

    def note(self, text: str) -> None: ...

    def advance(self, step: int, values: dict[str, float], seconds_left: float) -> None: ...

    def close(self) -> None: ...


class MetricLog:
    """Metrics of a run in `metrics.jsonl` and, where asked, TensorBoard event files.

    Records after `first_step` that an interrupted run left behind are dropped, so that each step
    appears once.

    Raises:
        InputError: there is no room, here or in what follows.
    """

    def __init__(self, folder: pathlib.Path, *, first_step: int, tensorboard: bool) -> None:
        self._path = path = folder / "metrics.jsonl"
        kept = "".join(json.dumps(record) + "\n" for record in _records_until(path, first_step))
        write_atomically(path, lambda temporary: temporary.write_text(kept))
        self._file = path.open("a")
        self._writer = None
        if tensorboard:
            # Imported late: it is slow to import, and not every run wants it.
            from drivenmorph_jax.training.events import EventWriter

            with self._failing_clearly():
                self._writer = EventWriter(folder / "tensorboard", purge_step=first_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """One record; values that are no numbers are written as null."""
        record: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
        record |= {k: float(f"{v:.7g}") if math.isfinite(v) else None for k, v in values.items()}
        with self._failing_clearly():
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            if self._writer is not None:
                for name, value in values.items():
                    self._writer.add_scalar(name, value, step)
                self._writer.flush()

    def show(self, step: int, pictures: dict[str, UInt8[ndarray, "h w"]]) -> None:
        """Grey pictures, in TensorBoard alone."""
        if self._writer is not None:
            with self._failing_clearly():
                for name, picture in pictures.items():
                    self._writer.add_image(name, picture, step, dataformats="HW")

    def close(self) -> None:
        # Each record is on disk already, or has been reported.
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            if self._writer is not None:
                self._writer.close()

    @contextlib.contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"metrics {self._path} cannot be written ({error.strerror}): make room, and "
                "--resume from the last checkpoint"
            ) from error


def _records_until(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # A line cut off when the machine went down.
        if record.get("step", 0) <= step:
            records.append(record)
    return records


class PlainReporter:
    """One line per logged step, for log files and batch queues."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def note(self, text: str) -> None:
        print(text, flush=True)

    def advance(self, step: int, values: dict[str, float], seconds_left: float) -> None:
        self.note(f"step {step}/{self._steps}  {_summary(values, seconds_left)}")

    def close(self) -> None:
        pass


class SilentReporter:
    """For every process but the one that speaks."""

    def note(self, text: str) -> None:
        pass

    def advance(self, step: int, values: dict[str, float], seconds_left: float) -> None:
        pass

    def close(self) -> None:
        pass


class BarReporter:
    """A bar on a terminal, with the events scrolling above it."""

    def __init__(self, steps: int, first_step: int, console: Console) -> None:
        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=console
        )
        self._task = self._bar.add_task("compiling", total=steps, completed=first_step)
        self._bar.start()

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def advance(self, step: int, values: dict[str, float], seconds_left: float) -> None:
        self._bar.update(
            self._task, completed=step, description=_summary(values, seconds_left), refresh=True
        )

    def close(self) -> None:
        self._bar.stop()


def make_reporter(steps: int, first_step: int) -> Reporter:
    """A bar where the output is a terminal, plain lines elsewhere; one process of many speaks."""
    if not is_lead():
        return SilentReporter()
    if sys.stdout.isatty():
        return BarReporter(steps, first_step, Console())
    return PlainReporter(steps)


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 5 s, 2 h 7 min."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _summary(values: dict[str, float], seconds_left: float) -> str:
    parts = [f"loss {values['loss']:.4f}"]
    if "seconds_per_step" in values:
        parts.append(f"{values['seconds_per_step']:.3g} s/step")
    return "  ".join([*parts, f"{duration(seconds_left)} left"])
