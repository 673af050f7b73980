"""The training loop: steps, logging, evaluation, checkpoints, and the ways it can end."""

import contextlib
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.interruption import StopRequest
from drivenmorph_jax.training.journal import Journal
from drivenmorph_jax.training.logging import MetricLog, Reporter
from drivenmorph_jax.training.parallel import Backend
from drivenmorph_jax.training.processes import any_process
from drivenmorph_jax.training.profile import StepProfile
from drivenmorph_jax.training.settings import TrainingConfig
from drivenmorph_jax.training.state import TrainState
from drivenmorph_jax.training.throughput import Throughput

# Numbers and, by other names, grey pictures (h, w).
Evaluate = Callable[[Any], dict[str, Any]]


class Batches(Protocol):
    """An endless, resumable source of host batches. The position is a JSON value."""

    def __next__(self) -> Any: ...

    def get_state(self) -> Any: ...


class Outcome(NamedTuple):
    """How a run ended: `signal_number` is None unless a signal stopped it early."""

    state: TrainState
    seconds: float
    signal_number: int | None


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
    journal = Journal(
        metric_log,
        reporter,
        steps=cfg.steps,
        throughput=throughput,
        skipped=skipped,
        seconds_before=seconds_before,
    )
    clock = journal.clock

    def save(step: int) -> None:
        progress = {"step": step, "seconds": clock.total, "loader": batches.get_state()}
        checkpoints.save(step, state, progress=progress, config=config_document)

    first = int(state.step) + 1
    previous, stopping = None, False
    with StopRequest() as stop:
        for step in range(first, cfg.steps + 1):
            if profile is not None:
                profile.begin(step)
            started = time.perf_counter()
            batch = backend.place_batch(next(batches))
            waited = time.perf_counter() - started
            if step == first:
                journal.begin(state, batch)
            # After the first step, whose compilation may place constants, the step reaches no
            # host value that was not placed for it.
            with jax.transfer_guard("disallow") if step > first else contextlib.nullcontext():
                state, metrics = backend.step(state, batch)
            journal.keep(step, metrics)
            # One step runs ahead while the next batch is fetched, never more: memory stays
            # bounded, and a signal is honoured within two steps.
            jax.block_until_ready(metrics if previous is None else previous)
            previous = metrics
            journal.took_step(time.perf_counter() - started, waited, compiled=step == first)
            if profile is not None and profile.end(step, metrics):
                journal.traced(step)

            # Read once: a signal that comes later in this round is honoured in the next.
            stopping = any_process(stop.requested)
            evaluating = not stopping and _due(step, cfg.evaluate_every, cfg.steps)
            last = stopping or step == cfg.steps
            saving = last or evaluating or _due(step, cfg.checkpoint_every, cfg.steps)
            if saving or _due(step, cfg.log_every, cfg.steps):
                journal.flush(step, checkpoints)
            started = time.perf_counter()
            if saving:
                # Before the evaluation, so that what goes wrong in it costs no training.
                save(step)
            if evaluating and evaluate is not None:
                results, pictures = _evaluate(evaluate, state.ema_params, cfg)
                sign = 1.0 if cfg.best_mode == "max" else -1.0
                checkpoints.record_score(step, sign * results[cfg.best_metric])
                journal.evaluated(step, results, pictures, time.perf_counter() - started)
            clock.other += time.perf_counter() - started
            if stopping:
                break
    checkpoints.wait()
    journal.end()
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
