"""The training loop: steps, logging, evaluation, checkpoints, and the ways it can end."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.interruption import StopRequest
from drivenmorph_jax.training.logging import MetricLog, Reporter, duration
from drivenmorph_jax.training.parallel import Backend
from drivenmorph_jax.training.processes import any_process
from drivenmorph_jax.training.profile import StepProfile
from drivenmorph_jax.training.settings import TrainingConfig
from drivenmorph_jax.training.state import TrainState
from drivenmorph_jax.training.throughput import Throughput

# Numbers and, by other names, grey pictures (h, w).
Evaluate = Callable[[Any], dict[str, Any]]


class TrainingError(RuntimeError):
    """Training cannot go on. The message is one line, for a person."""


class Batches(Protocol):
    """An endless, resumable source of host batches. The position is a JSON value."""

    def __next__(self) -> Any: ...

    def get_state(self) -> Any: ...


class Outcome(NamedTuple):
    """How a run ended: `signal_number` is None unless a signal stopped it early."""

    state: TrainState
    seconds: float
    signal_number: int | None


@dataclasses.dataclass
class _Clock:
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


def train_loop(
    state: TrainState,
    *,
    backend: Backend,
    batches: Batches,
    checkpoints: Checkpoints,
    cfg: TrainingConfig,
    config_document: dict[str, Any],
    metric_log: MetricLog | None,
    reporter: Reporter,
    evaluate: Evaluate | None = None,
    skipped: Callable[[], list[str]] = list,
    throughput: Throughput | None = None,
    profile: StepProfile | None = None,
    seconds_before: float = 0.0,
) -> Outcome:
    """Train from `state.step` to `cfg.steps`, or until a signal.

    Args:
        state: placed by `backend`; used up.
        metric_log: None in the processes that write none.
        evaluate: given the averaged parameters, returns named numbers and pictures.
        throughput: adds its values to what is logged.
        profile: traces some of the steps.
        config_document: the config as plain values, saved with every checkpoint.
        skipped: names of the subjects left out so far, because they cannot be read.
        seconds_before: spent by the runs that this one continues.

    Raises:
        TrainingError: a loss or gradient is not finite.
    """
    clock = _Clock(before=seconds_before)
    pending: list[tuple[int, dict[str, Any]]] = []

    def save(step: int) -> None:
        progress = {"step": step, "seconds": clock.total, "loader": batches.get_state()}
        checkpoints.save(step, state, progress=progress, config=config_document)

    def flush(step: int) -> None:
        values = _mean_of(pending, checkpoints)
        pending.clear()
        rate = clock.stepping / clock.steps if clock.steps else math.nan
        if clock.steps:
            values["seconds_per_step"] = rate
            values["waiting_share"] = clock.waiting / max(clock.stepping, 1e-9)
            values |= throughput.read(rate) if throughput else {}
        values["seconds"] = clock.total
        if names := skipped():
            values["skipped_subjects"] = len(names)
        if metric_log is not None:
            metric_log.write(step, values)
        reporter.advance(step, values, rate * (cfg.steps - step))

    first = int(state.step) + 1
    previous, stopping = None, False
    with StopRequest() as stop:
        for step in range(first, cfg.steps + 1):
            if profile is not None:
                profile.begin(step)
            started = time.perf_counter()
            # After the first step, whose compilation may place constants, nothing reaches or
            # leaves a device unless it is asked for.
            with jax.transfer_guard("disallow") if step > first else contextlib.nullcontext():
                batch = backend.place_batch(next(batches))
                fetched = time.perf_counter()
                if step == first and throughput is not None:
                    throughput.see(state, batch)
                state, metrics = backend.step(state, batch)
            pending.append((step, metrics))
            # One step runs ahead while the next batch is fetched, never more: memory stays
            # bounded, and a signal is honoured within two steps.
            jax.block_until_ready(metrics if previous is None else previous)
            previous = metrics
            elapsed = time.perf_counter() - started
            if profile is not None and profile.end(step, metrics):
                reporter.note(f"trace of steps up to {step} written")
            if step == first:
                clock.compiling += elapsed
                reporter.note(f"first step (with compilation) took {duration(elapsed)}")
            else:
                clock.steps += 1
                clock.stepping += elapsed
                clock.waiting += fetched - started

            # Read once: a signal that comes later in this round is honoured in the next.
            stopping = any_process(stop.requested)
            evaluating = not stopping and _due(step, cfg.evaluate_every, cfg.steps)
            saving = (
                stopping
                or step == cfg.steps
                or evaluating
                or _due(step, cfg.checkpoint_every, cfg.steps)
            )
            if saving or _due(step, cfg.log_every, cfg.steps):
                started = time.perf_counter()
                jax.block_until_ready(metrics)
                clock.stepping += (time.perf_counter() - started) if clock.steps else 0.0
                flush(step)
            started = time.perf_counter()
            if saving:
                # Before the evaluation, so that what goes wrong in it costs no training.
                save(step)
            if evaluating and evaluate is not None:
                results, pictures = _evaluate(evaluate, state.ema_params, cfg)
                sign = 1.0 if cfg.best_mode == "max" else -1.0
                checkpoints.record_score(step, sign * results[cfg.best_metric])
                spent = time.perf_counter() - started
                if metric_log is not None:
                    metric_log.write(step, {f"evaluation/{k}": v for k, v in results.items()})
                    metric_log.show(step, {f"evaluation/{k}": v for k, v in pictures.items()})
                shown = "  ".join(f"{name} {value:.4g}" for name, value in results.items())
                reporter.note(f"evaluation at step {step} ({duration(spent)}): {shown}")
            clock.other += time.perf_counter() - started
            if stopping:
                break
    checkpoints.wait()
    if clock.steps:
        share = 100 * clock.waiting / max(clock.stepping, 1e-9)
        reporter.note(
            f"{clock.stepping / clock.steps:.3g} s/step; waited for data {share:.1f} % of the time"
        )
    if names := skipped():
        reporter.note(f"skipped {len(names)} unusable subject(s): {', '.join(names)}")
    # A signal to another process ends this one as well.
    number = stop.signal_number or (signal.SIGTERM if stopping else None)
    return Outcome(state, clock.total, number)


def _due(step: int, every: int, steps: int) -> bool:
    return every > 0 and (step % every == 0 or step == steps)


def _evaluate(
    evaluate: Evaluate, params: Any, cfg: TrainingConfig
) -> tuple[dict[str, float], dict[str, Any]]:
    """The numbers and the pictures of an evaluation."""
    found = evaluate(params)
    pictures = {name: value for name, value in found.items() if np.ndim(value)}
    results = {name: float(value) for name, value in found.items() if name not in pictures}
    if cfg.best_metric not in results:
        raise InputError(
            f"training.best_metric is {cfg.best_metric!r}, but evaluation gives "
            f"{', '.join(sorted(results))}"
        )
    return results, pictures


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
