"""Register many pairs, whatever becomes of any one of them."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.pipeline.batch.earlier import earlier_outcome
from drivenmorph_jax.pipeline.batch.index_page import write_index
from drivenmorph_jax.pipeline.batch.outcome import Outcome, failed, succeeded, write_results
from drivenmorph_jax.pipeline.batch.pairs import INDEX, RESULTS, Pair
from drivenmorph_jax.pipeline.formats import check_formats
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.output_folder import check_output
from drivenmorph_jax.pipeline.register import register_files
from drivenmorph_jax.pipeline.results import SUMMARY
from drivenmorph_jax.progress import Say, silent

_log = logging.getLogger(__name__)


def register_pairs(
    pairs: Sequence[Pair],
    output: str | os.PathLike[str],
    method: Method,
    *,
    formats: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    command: str | None = None,
    say: Say = silent,
    doing: Say = silent,
) -> list[Outcome]:
    """Register each pair into OUTPUT/NAME, and keep a table and a page of them in OUTPUT.

    A pair that cannot be registered is noted, and the others go on. Table and page are written
    after every pair, so that they are there however the run ends.

    Args:
        pairs: with names of their own.
        output: the folder.
        method: one for all, so that it compiles once for each shape of its working grid.
        formats: further files of each map, as for `register_files`.
        resume: leave out what an earlier run did of the same files with the same method
            (see `earlier_outcome`); do again what failed or has changed.
        overwrite: replace earlier results of the same names.
        command: to be kept in each summary.
        say: called with a line at the end of each pair, with rate and time left.
        doing: called with a line at the start of each stage of a pair.

    Returns:
        The outcomes, in the pairs' order.

    Raises:
        InputError: a format is not known, or the folder holds something and neither `resume` nor
            `overwrite` is set, or cannot be written.
    """
    check_formats(formats)
    folder = _prepare(output, may_exist=resume or overwrite)
    outcomes: dict[str, Outcome] = {}
    if resume:
        found = (earlier_outcome(folder / p.name, p, method, formats) for p in pairs)
        outcomes = {outcome.pair.name: outcome for outcome in found if outcome is not None}
        say(f"{len(outcomes)} of {len(pairs)} pairs are there already")
    _keep(folder, pairs, outcomes, method)
    pace = _Pace(len(pairs) - len(outcomes))
    for pair in [pair for pair in pairs if pair.name not in outcomes]:
        place = f"{len(outcomes) + 1} of {len(pairs)}"
        arguments: dict[str, Any] = {
            **pair.files,
            "output": folder / pair.name,
            "formats": formats,
            # A folder that holds no results of ours stays as it is, and the pair fails.
            "overwrite": overwrite or (resume and (folder / pair.name / SUMMARY).exists()),
            "command": command,
            "say": _prefixed(f"{place}, {pace.told()}{pair.name}: ", doing),
        }
        outcome = _register(pair, method, arguments)
        outcomes[pair.name] = outcome
        _keep(folder, pairs, outcomes, method)
        pace.step()
        say(f"{place}, {pace.told()}{pair.name}: {_told(outcome)}")
    return [outcomes[pair.name] for pair in pairs]


class _Pace:
    """How long a pair takes, and all that are left."""

    def __init__(self, pairs: int) -> None:
        self._left, self._done = pairs, 0
        self._start = self._first = self._last = time.monotonic()

    def step(self) -> None:
        """A pair is done."""
        self._last = time.monotonic()
        self._left, self._done = self._left - 1, self._done + 1
        if self._done == 1:
            self._first = self._last

    def told(self) -> str:
        """As the beginning of a line: "14 s a pair, 4 min left, "; empty before the first."""
        if not self._done:
            return ""
        each = self._last - self._start
        if self._done > 1:  # The first one compiles, and says little of the others.
            each = (self._last - self._first) / (self._done - 1)
        return f"{_duration(each)} a pair, {_duration(each * self._left)} left, "


def _prepare(output: str | os.PathLike[str], *, may_exist: bool) -> Path:
    folder = user_path(output).absolute()
    there = check_output(folder, overwrite=True)
    try:
        if there and not may_exist and any(folder.iterdir()):
            raise InputError(
                f"output {folder}: is not empty: choose another folder, or add --resume or "
                "--overwrite"
            )
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"output {folder}: cannot be made ({reason}): choose another") from error
    return folder


def _register(pair: Pair, method: Method, arguments: dict[str, Any]) -> Outcome:
    """One pair; whatever goes wrong with it is its outcome."""
    try:
        return succeeded(pair, register_files(method=method, **arguments))
    except Exception as error:
        _log.debug("%s", pair.name, exc_info=True)
        return failed(pair, error)


def _keep(
    folder: Path, pairs: Sequence[Pair], outcomes: dict[str, Outcome], method: Method
) -> None:
    """Write what there is by now."""
    there = [outcomes[pair.name] for pair in pairs if pair.name in outcomes]
    write_results(folder / RESULTS, there)
    title = f"{len(pairs)} pairs, {method.name}"
    write_index(folder / INDEX, there, title=title, left=len(pairs) - len(there), table=RESULTS)


def _prefixed(prefix: str, say: Say) -> Say:
    return lambda text: say(prefix + text)


def _told(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"failed: {outcome.error}"
    figures = outcome.figures
    parts = [f"quality {outcome.quality}"]
    for label, name in (("correlation", "correlation"), ("Dice", "dice")):
        affine, after = figures[f"{name}_affine"], figures[f"{name}_after"]
        if affine is not None and after is not None:
            parts.append(f"{label} {affine:.3f} to {after:.3f}")
    return f"{', '.join(parts)}, {_duration(figures['seconds'] or 0)}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
