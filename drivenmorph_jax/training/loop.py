"""The training loop: steps, logging, evaluation, checkpoints, and the ways it can end."""

import contextlib
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

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
    stepper = _Stepper(backend, batches, journal, profile)
    keeper = _Keeper(checkpoints, batches, journal, cfg, config_document, evaluate)
    stopping = False
    with StopRequest() as stop:
        for step in range(int(state.step) + 1, cfg.steps + 1):
            state = stepper.take(step, state)
            # Read once: a signal that comes later in this round is honoured in the next.
            stopping = any_process(stop.requested)
            keeper.after(step, state, stopping=stopping)
            if stopping:
                break
    checkpoints.wait()
    journal.end()
    # A signal to another process ends this one as well.
    number = stop.signal_number or (signal.SIGTERM if stopping else None)
    return Outcome(state, journal.clock.total, number)


class _Stepper:
    """Takes one step after the other; a step runs while the batch of the next is fetched."""

    def __init__(
        self, backend: Backend, batches: Batches, journal: Journal, profile: StepProfile | None
    ) -> None:
        self._backend = backend
        self._batches = batches
        self._journal = journal
        self._profile = profile
        self._previous: Any = None

    def take(self, step: int, state: TrainState) -> TrainState:
        """The next state; the given one is used up. The first `step` of a whole run is 1."""
        first = self._previous is None
        if self._profile is not None:
            self._profile.begin(step)
        started = time.perf_counter()
        batch = self._backend.place_batch(next(self._batches))
        waited = time.perf_counter() - started
        if first:
            self._journal.begin(state, batch)
        # After the first step, whose compilation may place constants, the step reaches no
        # host value that was not placed for it.
        with contextlib.nullcontext() if first else jax.transfer_guard("disallow"):
            state, metrics = self._backend.step(state, batch)
        self._journal.keep(step, metrics)
        # One step runs ahead while the next batch is fetched, never more: memory stays
        # bounded, and a signal is honoured within two steps.
        jax.block_until_ready(metrics if first else self._previous)
        self._previous = metrics
        self._journal.took_step(time.perf_counter() - started, waited, compiled=first)
        if self._profile is not None and self._profile.end(step, metrics):
            self._journal.traced(step)
        return state


class _Keeper:
    """Logs, saves and evaluates after the steps that are due for it."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        batches: Batches,
        journal: Journal,
        cfg: TrainingConfig,
        config_document: dict[str, Any],
        evaluate: Evaluate | None,
    ) -> None:
        self._checkpoints = checkpoints
        self._batches = batches
        self._journal = journal
        self._cfg = cfg
        self._config_document = config_document
        self._evaluate = evaluate

    def after(self, step: int, state: TrainState, *, stopping: bool) -> None:
        """Log, save and evaluate as due; before a stop log and save always, and evaluate never."""
        cfg, clock = self._cfg, self._journal.clock
        evaluating = not stopping and _due(step, cfg.evaluate_every, cfg.steps)
        last = stopping or step == cfg.steps
        saving = last or evaluating or _due(step, cfg.checkpoint_every, cfg.steps)
        if saving or _due(step, cfg.log_every, cfg.steps):
            self._journal.flush(step, self._checkpoints)
        started = time.perf_counter()
        if saving:
            # Before the evaluation, so that what goes wrong in it costs no training.
            self._save(step, state)
        if evaluating and self._evaluate is not None:
            results, pictures = _evaluate(self._evaluate, state.ema_params, cfg)
            sign = 1.0 if cfg.best_mode == "max" else -1.0
            self._checkpoints.record_score(step, sign * results[cfg.best_metric])
            self._journal.evaluated(step, results, pictures, time.perf_counter() - started)
        clock.other += time.perf_counter() - started

    def _save(self, step: int, state: TrainState) -> None:
        seconds, loader = self._journal.clock.total, self._batches.get_state()
        progress = {"step": step, "seconds": seconds, "loader": loader}
        self._checkpoints.save(step, state, progress=progress, config=self._config_document)


def _due(step: int, every: int, steps: int) -> bool:
    return every > 0 and (step % every == 0 or step == steps)


def _evaluate(
    evaluate: Evaluate, params: Any, cfg: TrainingConfig
) -> tuple[dict[str, float], dict[str, Any]]:
    """The numbers and the pictures of an evaluation."""
    found = evaluate(params)
    pictures = {name: value for name, value in found.items() if np.ndim(value)}
    results = {name: float(value) for name, value in found.items() if name not in pictures}
    cfg.check_best_metric(results)
    return results, pictures
