"""What a run says of itself: its clock, its metrics since the last line, and where they go."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax

from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.logging import MetricLog, Reporter, duration
from drivenmorph_jax.training.throughput import Throughput


class TrainingError(RuntimeError):
    """Training cannot go on. The message is one line, for a person."""


@dataclasses.dataclass
class Clock:
    """Seconds of this run by what they went to; those of earlier runs are in `before`."""

    before: float
    steps: int = 0
    stepping: float = 0.0
    waiting: float = 0.0
    compiling: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        return self.before + self.stepping + self.compiling + self.other

    @property
    def rate(self) -> float:
        """Seconds of a step; NaN before the second."""
        return self.stepping / self.steps if self.steps else math.nan

    @property
    def waiting_share(self) -> float:
        """Of the time of the steps, what went into waiting for data."""
        return self.waiting / max(self.stepping, 1e-9)


class Journal:
    """Takes in what the loop does, and tells the metric log and the person who watches.

    Args:
        metric_log: None in the processes that write none.
        reporter: lines and progress for a person.
        steps: of the whole run.
        throughput: adds its values to what is logged.
        skipped: names of the subjects left out so far, because they cannot be read.
        seconds_before: spent by the runs that this one continues.
    """

    def __init__(
        self,
        metric_log: MetricLog | None,
        reporter: Reporter,
        *,
        steps: int,
        throughput: Throughput | None,
        skipped: Callable[[], list[str]],
        seconds_before: float,
    ) -> None:
        self.clock = Clock(before=seconds_before)
        self._log, self._reporter, self._steps = metric_log, reporter, steps
        self._throughput, self._skipped = throughput, skipped
        self._pending: list[tuple[int, dict[str, Any]]] = []

    def begin(self, state: Any, batch: Any) -> None:
        """Before the first step."""
        if self._throughput is not None:
            self._throughput.see(state, batch)

    def took_step(self, seconds: float, waited: float, *, compiled: bool) -> None:
        """A step was dispatched, and the one before it is done.

        Args:
            seconds: since the batch was asked for.
            waited: of these, until it was there.
            compiled: this was the first one.
        """
        if compiled:
            self.clock.compiling += seconds
            self._reporter.note(f"first step (with compilation) took {duration(seconds)}")
        else:
            self.clock.steps += 1
            self.clock.stepping += seconds
            self.clock.waiting += waited

    def keep(self, step: int, metrics: dict[str, Any]) -> None:
        """The metrics of a step, which may still be running."""
        self._pending.append((step, metrics))

    def flush(self, step: int, checkpoints: Checkpoints) -> None:
        """Log the means since the last time; waits for the steps that still run.

        Raises:
            TrainingError: a value is not finite.
        """
        started = time.perf_counter()
        jax.block_until_ready(self._pending)
        clock = self.clock
        clock.stepping += (time.perf_counter() - started) if clock.steps else 0.0
        values = _mean_of(self._pending, checkpoints)
        self._pending.clear()
        if clock.steps:
            values["seconds_per_step"] = clock.rate
            values["waiting_share"] = clock.waiting_share
            values |= self._throughput.read(clock.rate) if self._throughput else {}
        values["seconds"] = clock.total
        if names := self._skipped():
            values["skipped_subjects"] = len(names)
        if self._log is not None:
            self._log.write(step, values)
        self._reporter.advance(step, values, clock.rate * (self._steps - step))

    def evaluated(
        self, step: int, results: dict[str, float], pictures: dict[str, Any], seconds: float
    ) -> None:
        """The numbers and pictures of an evaluation."""
        if self._log is not None:
            self._log.write(step, {f"evaluation/{name}": x for name, x in results.items()})
            self._log.show(step, {f"evaluation/{name}": x for name, x in pictures.items()})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in results.items())
        self._reporter.note(f"evaluation at step {step} ({duration(seconds)}): {shown}")

    def traced(self, step: int) -> None:
        """A trace was written."""
        self._reporter.note(f"trace of steps up to {step} written")

    def end(self) -> None:
        """After the last step."""
        if self.clock.steps:
            share = 100 * self.clock.waiting_share
            self._reporter.note(
                f"{self.clock.rate:.3g} s/step; waited for data {share:.1f} % of the time"
            )
        if names := self._skipped():
            self._reporter.note(f"skipped {len(names)} unusable subject(s): {', '.join(names)}")


def _mean_of(
    pending: list[tuple[int, dict[str, Any]]], checkpoints: Checkpoints
) -> dict[str, float]:
    """Means over the steps since the last log; stops the run at a value that is not finite."""
    fetched = [(step, jax.device_get(metrics)) for step, metrics in pending]
    for step, metrics in fetched:
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            checkpoints.wait()
            good = checkpoints.latest_step()
            where = "no checkpoint yet" if good is None else f"{checkpoints.folder / str(good)}"
            raise TrainingError(
                f"{', '.join(bad)} not finite at step {step}; last good checkpoint: {where}. "
                "Lower training.optimiser.learning_rate or clip_norm, and --resume"
            )
    names = fetched[0][1].keys() if fetched else ()
    return {
        name: float(sum(float(metrics[name]) for _, metrics in fetched) / len(fetched))
        for name in names
    }
