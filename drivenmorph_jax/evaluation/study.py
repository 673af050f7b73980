"""A method over all pairs of a data set: every score in a table that can be continued."""

import csv
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from drivenmorph_jax.data.dataset import EvaluationData
from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation.method import Method
from drivenmorph_jax.evaluation.pair import PairScore, score_pair
from drivenmorph_jax.progress import Say
from drivenmorph_jax.writing import write_atomically


class Row(NamedTuple):
    """One pair of the table."""

    fixed: str
    moving: str
    score: PairScore


def run_study(
    method: Method,
    data: EvaluationData,
    table: str | os.PathLike,
    *,
    settings: Any = None,
    limit: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: Say = print,
) -> list[Row]:
    """Register and score every pair that the table does not hold yet.

    Every device takes a pair at a time. `seconds` is the wall time of a pair (of a round of pairs
    where there are several devices), with the transfers to and from the device, but no compilation.

    Args:
      method: what to evaluate.
      data: the pairs.
      table: the CSV, one row a pair; rewritten whole after every round, so it is never torn.
      settings: whatever else the figures depend on, as plain values.
      limit: only the first pairs.
      devices: the local ones by default.
      progress: called with a line for every pair, with the rate and the time left.

    Returns:
      The rows of all pairs, in their order.

    Raises:
      InputError: the table is one of other parameters, data or settings, or cannot be written.
    """
    table = Path(table)
    pairs = data.pairs[:limit]
    _claim(table, fingerprint(method, data, settings))
    named = [(data.subjects[i].name, data.subjects[j].name) for i, j in pairs]
    done = {(row.fixed, row.moving): row for row in read_table(table)}
    pending = [place for place, names in enumerate(named) if names not in done]
    if not pending:
        return [done[names] for names in named]
    if len(pending) < len(named):
        progress(f"continuing {table}: {len(named) - len(pending)} of {len(named)} pairs are there")
    devices = list(devices or jax.local_devices())[: len(pending)]
    run = _on_devices(method, devices)
    start = time.monotonic()
    for first in range(0, len(pending), len(devices)):
        chosen = pending[first : first + len(devices)]
        # The last round is filled up, so that every round has one shape and one program.
        filled = chosen + chosen[:1] * (len(devices) - len(chosen))
        subjects = [(data.subjects[pairs[p][0]], data.subjects[pairs[p][1]]) for p in filled]
        fixed, moving = (_stack(s[side] for s in subjects) for side in (0, 1))
        if first == 0:
            run(fixed, moving)  # Compiles, and warms up.
            start = time.monotonic()
        before = time.perf_counter()
        displacements = run(fixed, moving)
        seconds = time.perf_counter() - before
        for place, pair, displacement in zip(chosen, subjects, displacements, strict=False):
            row = Row(*named[place], _score(data, place, pair, displacement, seconds))
            done[named[place]] = row
        write_table(table, [done[names] for names in named if names in done])
        finished = first + len(chosen)
        rate = finished / (time.monotonic() - start)
        for place in chosen:
            progress(_line(done[named[place]], finished, len(pending), rate))
    return [done[names] for names in named]


def summarise(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the pairs of every metric that any pair has."""
    result = {}
    for name in PairScore._fields:
        values = np.array([getattr(row.score, name) for row in rows], np.float64)
        values = values[~np.isnan(values)]
        if values.size:
            result[name] = {"mean": float(values.mean()), "std": float(values.std())}
    return result


def fingerprint(method: Method, data: EvaluationData, settings: Any) -> str:
    """Hash of what a table's figures depend on: parameters, grid, pairs and settings."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(method.params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.asarray(leaf).tobytes())
    names = [[data.subjects[i].name, data.subjects[j].name] for i, j in data.pairs]
    values = None if data.label_table is None else data.label_table.values
    described = [method.name, names, np.asarray(data.affine).tolist(), values, settings]
    digest.update(json.dumps(described, sort_keys=True).encode())
    return digest.hexdigest()


def spacing_of(data: EvaluationData) -> tuple[float, float, float]:
    """Millimetres per voxel of the common grid."""
    x, y, z = np.linalg.norm(np.asarray(data.affine)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def read_table(table: str | os.PathLike) -> list[Row]:
    """Rows of a table; none where there is no such file, or it is not one of this version."""
    columns = ["fixed", "moving", *PairScore._fields]
    try:
        with Path(table).open(newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != columns:
                return []
            return [
                Row(
                    line["fixed"],
                    line["moving"],
                    PairScore(*(float(line[name] or "nan") for name in PairScore._fields)),
                )
                for line in reader
            ]
    except (OSError, ValueError, TypeError):
        return []


def write_table(table: str | os.PathLike, rows: Sequence[Row]) -> None:
    """Write rows as CSV: an empty field where there is nothing to tell."""

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["fixed", "moving", *PairScore._fields])
            for row in rows:
                numbers = ["" if math.isnan(x) else f"{x:.8g}" for x in row.score]
                writer.writerow([row.fixed, row.moving, *numbers])

    write_atomically(table, write)


def _claim(table: Path, identity: str) -> None:
    """Check that the table may be continued, or mark it as one of this identity."""
    marker = table.with_name(f".{table.name}.sha256")
    if table.exists() and (not marker.exists() or marker.read_text().strip() != identity):
        raise InputError(
            f"{table} holds the figures of other weights, data or settings: choose another "
            "--output, or delete it"
        )
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"folder {table.parent} cannot be made: {error.strerror}") from None
    write_atomically(marker, lambda path: path.write_text(identity + "\n"))


def _on_devices(method: Method, devices: Sequence[Any]) -> Callable[[Any, Any], np.ndarray]:
    """A round: (N, D, H, W, 1) images for N devices to N displacements on the host."""

    def displacement(params: Any, fixed: Any, moving: Any) -> Any:
        return method.register(params, fixed, moving).displacement

    if len(devices) > 1:
        run = jax.pmap(displacement, in_axes=(None, 0, 0), devices=devices)
        return lambda fixed, moving: np.asarray(run(method.params, fixed, moving))
    one = jax.jit(displacement)
    params = jax.device_put(method.params, devices[0])

    def alone(fixed: Any, moving: Any) -> np.ndarray:
        images = jax.device_put((fixed[0], moving[0]), devices[0])
        return np.asarray(one(params, *images))[None]

    return alone


def _stack(subjects: Iterable[Subject]) -> np.ndarray:
    return np.stack([np.asarray(subject.image, np.float32)[..., None] for subject in subjects])


def _score(
    data: EvaluationData,
    place: int,
    pair: tuple[Subject, Subject],
    displacement: np.ndarray,
    seconds: float,
) -> PairScore:
    return score_pair(
        displacement,
        pair[0],
        pair[1],
        None if data.label_table is None else data.label_table.values,
        spacing=spacing_of(data),
        truth=None if data.truth is None else data.truth[place],
        seconds=seconds,
    )


def _line(row: Row, finished: int, total: int, rate: float) -> str:
    left = (total - finished) / rate
    dice = f"Dice {row.score.dice_before:.3f} to {row.score.dice:.3f}, "
    if math.isnan(row.score.dice):
        dice = ""
    return (
        f"{finished} of {total}: {row.moving} to {row.fixed}: {dice}{row.score.seconds:.2f} s "
        f"({60 * rate:.1f} pairs/min, {left:.0f} s left)"
    )
