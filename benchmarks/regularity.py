"""Dice against regularity: what --regularity trades, on held-out *training* subjects.

    python benchmarks/regularity.py [--checkpoint DIR] [--factors R …] [--pairs N] [--figure FILE]

Every pair and factor is kept in OUTPUT/cache, so that the script continues where it was stopped. It
prints a table, and draws Dice against the spread of the Jacobian and against folding.
"""

import argparse
import pathlib
import sys
import time
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from machine import hold_to_threads
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from records import digest, read_record, write_record

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.config import load_config
from drivenmorph_jax.data import EvaluationData, load_training
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation import overlap
from drivenmorph_jax.evaluation.study import spacing_of
from drivenmorph_jax.model import register
from drivenmorph_jax.model.correlation_parameters import comparison
from drivenmorph_jax.model.smoothing import with_regularity
from drivenmorph_jax.objective.metrics import folding_percent, ndv_percent, sdlogj
from drivenmorph_jax.pipeline.pretrained import Pretrained, load_checkpoint, load_pretrained
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.writing import write_atomically

# Raise it whenever a pair would give other figures.
VERSION = 3
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_COLUMNS = ("dice", "sdlogj", "folding_percent", "ndv_percent")

Scores = dict[float, np.ndarray]
"""By factor: (pairs, columns)."""


def main() -> int:
    arguments = parse_arguments()
    arguments.figure = arguments.figure or arguments.output / "regularity.png"
    hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        found = (
            load_checkpoint(arguments.checkpoint)
            if arguments.checkpoint
            else load_pretrained("brain-t1")
        )
        _, held_out = load_training(load_config(arguments.config).data, progress=say)
        scores = run(found, held_out, arguments)
        text = table(scores)
        print(f"\n{text}")
        table_file = arguments.output / "table.md"
        write_atomically(table_file, lambda temporary: temporary.write_text(text + "\n"))
        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        draw(arguments.figure, scores, title=f"{found.source}, held-out training pairs")
    except InputError as error:
        print(f"regularity.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def run(found: Pretrained, data: EvaluationData, arguments: Any) -> Scores:
    """Scores of every factor and pair, from the cache or worked out now."""
    solve = jax.jit(
        lambda p, f, m: register(p, f[..., None], m[..., None], found.config).displacement
    )
    pairs = data.pairs[: arguments.pairs]
    scores: dict[float, list[list[float]]] = {factor: [] for factor in arguments.factors}
    start, worked, total = time.monotonic(), 0, len(pairs) * len(arguments.factors)
    for place, pair in enumerate(pairs):
        for index, factor in enumerate(arguments.factors):
            path = arguments.output / "cache" / f"{key_of(found, data, pair, factor)}.json"
            if not path.is_file():
                params = with_regularity(found.params, factor)
                write_record(path, score(solve, params, data, pair))
                worked += 1
                each = (time.monotonic() - start) / worked
                done = place * len(arguments.factors) + index + 1
                say(f"{done} of {total}: {each:.0f} s each, {each * (total - done):.0f} s left")
            record = read_record(path)
            scores[factor].append([record[column] for column in _COLUMNS])
    return {factor: np.array(rows) for factor, rows in scores.items()}


def score(solve, params, data: EvaluationData, pair: tuple[int, int]) -> dict[str, float]:
    assert data.label_table is not None, "Dice needs labels"
    fixed, moving = (data.subjects[i] for i in pair)
    images = [np.asarray(subject.image, np.float32) for subject in (fixed, moving)]
    displacement = np.asarray(solve(params, *images))
    brain = images[0] != 0
    return {
        "dice": overlap(fixed, moving, displacement, data.label_table.values),
        "sdlogj": sdlogj(displacement),
        "folding_percent": folding_percent(displacement, mask=brain),
        "ndv_percent": ndv_percent(displacement, mask=brain),
    }


def key_of(found: Pretrained, data: EvaluationData, pair: tuple[int, int], factor: float) -> str:
    images = [np.asarray(data.subjects[i].image, np.float32) for i in pair]
    names = "__".join(data.subjects[i].name for i in pair)
    settings = [found.sha256, comparison(found.config)._asdict(), spacing_of(data)]
    return f"{names}-{factor:g}-{digest(VERSION, settings, *images)}"


def table(scores: Scores) -> str:
    """Markdown: one line a factor."""
    lines = [
        "| regularity | pairs | Dice | SDlogJ | folding % | NDV % |",
        "|---|---|---|---|---|---|",
    ]
    for factor, rows in scores.items():
        dice, sdlogj, folding, ndv = rows.mean(0)
        lines.append(
            f"| {factor:g} | {len(rows)} | {dice:.4f} ± {rows[:, 0].std():.4f} | {sdlogj:.4f} "
            f"| {folding:.4f} | {ndv:.4f} |"
        )
    return "\n".join(lines)


def draw(path: pathlib.Path, scores: Scores, *, title: str) -> None:
    """Dice against the spread of the Jacobian and against folding, a point a factor."""
    means = np.array([rows.mean(0) for rows in scores.values()])
    style: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontweight="bold")
        for ax, column, name in zip(
            figure.subplots(1, 2, sharey=True),
            (1, 2),
            ("SDlogJ (spread of the Jacobian)", "folded voxels of the brain, %"),
            strict=True,
        ):
            ax.plot(means[:, column], means[:, 0], color="#1f6fb2", marker="o", markersize=4)
            for factor, row in zip(scores, means, strict=True):
                where = (row[column], row[0])
                ax.annotate(f"{factor:g}", where, xytext=(4, 4), textcoords="offset points")
            ax.locator_params(axis="x", nbins=5)
            ax.set_xlabel(name)
            ax.set_ylabel("Dice" if column == 1 else "")
        write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=90, format="png"))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Dice against regularity.")
    parser.add_argument("--config", type=pathlib.Path, default=pathlib.Path("configs/ixi_2mm.yaml"))
    parser.add_argument("--checkpoint", type=pathlib.Path, help="default: the released weights")
    parser.add_argument("--factors", nargs="+", type=float, default=list(FACTORS), metavar="R")
    parser.add_argument("--pairs", type=int, help="only the first N")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/regularity"))
    parser.add_argument("--figure", type=pathlib.Path, help="default: OUTPUT/regularity.png")
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
