"""A whole evaluation: the table of pairs, its summary, what the force explains, and a figure."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from drivenmorph_jax.data.dataset import EvaluationData
from drivenmorph_jax.evaluation.explain import explain, gain_kept, without_residual
from drivenmorph_jax.evaluation.figure import draw_registration
from drivenmorph_jax.evaluation.method import Method
from drivenmorph_jax.evaluation.study import Row, run_study, spacing_of, summarise
from drivenmorph_jax.progress import Say
from drivenmorph_jax.writing import write_atomically


class Report(NamedTuple):
    """What `evaluate` found, as it wrote it.

    Attributes:
      rows: the pairs, of pairs.csv.
      summary: mean and std of every metric, of summary.json.
      explanation: statistics of force and deformation, of explain.json.
    """

    rows: Sequence[Row]
    summary: dict[str, Any]
    explanation: dict[str, Any]


def evaluate(
    method: Method,
    data: EvaluationData,
    folder: str | os.PathLike,
    *,
    settings: Any = None,
    limit: int | None = None,
    progress: Say = print,
) -> Report:
    """Write a folder: tables of the pairs, summary.json, explain.json and figure.png.

    An evaluation that was stopped continues with the pairs that are missing.

    Args:
      method: what to evaluate.
      data: on what.
      folder: made if absent.
      settings: plain values that say what was evaluated; they go into summary.json.
      limit: only the first pairs.
      progress: called with lines for people.

    Raises:
      InputError: the folder holds another evaluation, or cannot be written to.
    """
    folder = Path(folder)
    rows = run_study(
        method, data, folder / "pairs.csv", settings=settings, limit=limit, progress=progress
    )
    summary = {
        "method": method.name,
        "settings": settings,
        "pairs": len(rows),
        "devices": [device.device_kind for device in jax.local_devices()],
        "metrics": summarise(rows),
    }
    write_json(folder / "summary.json", summary)
    explanation: dict[str, Any] = {"levels": explain(method, data, limit=limit, progress=progress)}
    params = without_residual(method.params)
    if params is not None:
        progress("once more, with the learned residual zeroed")
        reduced = run_study(
            Method(f"{method.name}, residual zeroed", params, method.register),
            data,
            folder / "pairs_without_residual.csv",
            settings=settings,
            limit=limit,
            progress=progress,
        )
        explanation["residual_zeroed"] = _without_residual(rows, reduced)
    write_json(folder / "explain.json", explanation)
    _draw(method, data, rows, folder / "figure.png")
    return Report(rows, summary, explanation)


def write_json(path: Path, document: Any) -> None:
    """Write plain values, none of them NaN; the file appears whole or not at all."""
    text = json.dumps(document, indent=2, allow_nan=False)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def _without_residual(rows: Sequence[Row], reduced: Sequence[Row]) -> dict[str, Any]:
    metrics, full = summarise(reduced), summarise(rows)
    result: dict[str, Any] = {"metrics": metrics}
    if "dice" in full:
        kept = gain_kept(full["dice_before"]["mean"], full["dice"]["mean"], metrics["dice"]["mean"])
        if np.isfinite(kept):
            result["dice_gain_kept"] = kept
    return result


def _draw(method: Method, data: EvaluationData, rows: Sequence[Row], path: Path) -> None:
    """The first pair, which nobody chose for its looks."""
    fixed, moving = (data.subjects[i] for i in data.pairs[0])
    fixed_image, moving_image = (np.asarray(s.image, np.float32) for s in (fixed, moving))
    run = jax.jit(method.register)
    registration = run(method.params, fixed_image[..., None], moving_image[..., None])
    dice = ""
    if not np.isnan(rows[0].score.dice):
        dice = f", Dice {rows[0].score.dice_before:.3f} to {rows[0].score.dice:.3f}"
    draw_registration(
        path,
        fixed_image,
        moving_image,
        jax.device_get(registration),
        spacing=spacing_of(data),
        title=f"{method.name}: {moving.name} to {fixed.name}{dice}",
    )
