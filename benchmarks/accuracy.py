"""Accuracy of registration methods on the validation pairs of a data set, in one table.

    python benchmarks/accuracy.py [--config configs/ixi_2mm.yaml] [--checkpoint DIR]
                                  [--baseline unet=DIR …] [--methods NAME …] [--pairs N]
                                  [--leave-out SUBJECT …] [--tune]

All methods get the same arrays on the common affine grid, and the same code scores the result: on
the fixed subject's own voxels, to which the moving labels are carried once, by nearest neighbour,
through the affines and the displacement together. What was trained on a coarser grid than the
common one works there, and its displacement is brought back to the common one. Every pair is kept
in OUTPUT/CONFIG/METHOD.jsonl, so that the script continues where it was stopped, on another machine
too, and only what has changed is run again: subjects are told by name and labels, and a method by
its settings. Written: OUTPUT/CONFIG.md (of N pairs CONFIG-first-N.md), with a paired test of ours
against every other; methods that were not asked for are in it too, where their pairs are kept.
"""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from machine import describe_machine, hold_to_threads
from methods import (
    CLASSICAL,
    METHODS,
    UNSUPERVISED,
    Entry,
    UnavailableError,
    add_baseline_option,
    make_entry,
    read_constants,
)
from paired import as_row, compare, header
from records import RESULTS, Ledger, Record, digest, write_record

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.config import load_config
from drivenmorph_jax.data import (
    DataConfig,
    EvaluationData,
    Subject,
    load_training,
    load_validation,
)
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation import score_pair
from drivenmorph_jax.evaluation.study import spacing_of
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.writing import write_atomically

# Raise it whenever a method here, the preparation or the scoring would give other figures.
VERSION = 3
Rows = dict[str, list[Record]]
"""A method's records, in the order of the pairs."""

_LEFT_OUT = ("ants_syncc_own_affine",)  # Unless asked for: it takes many times as long.
_OURS = ("drivenmorph_labels", "drivenmorph")
_COLUMNS = ("dice", "folding_percent", "ndv_percent", "sdlogj", "hd95", "seconds")
_CANDIDATES: dict[str, tuple[Any, ...]] = {
    "diffusion_sigma": (0.8, 1.0, 1.2, 1.5, 1.8),
    "fluid_sigma": (0.0, 0.5, 1.0),
    "alpha": (0.0625, 0.25, 1.0),
    "iterations": ((20, 40, 60), (40, 60, 80)),
}


def main() -> int:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        config = load_config(arguments.config, arguments.overrides)
        if arguments.tune:
            _, held_out = load_training(config.data, progress=say)
            tune(held_out, arguments, threads)
        data = without_pairs(load_validation(config.data, progress=say), arguments.leave_out)
        if data.label_table is None:
            raise InputError(f"{arguments.config}: accuracy is Dice: set data.labels")
        rows = run_methods(data, arguments, threads)
        kept, recorded = kept_rows(data, arguments, threads, without=rows)
    except InputError as error:
        print(f"accuracy.py: error: {error}", file=sys.stderr)
        return 2
    if not rows:
        print("accuracy.py: error: no method can run: see above", file=sys.stderr)
        return 2
    titles = titles_of(arguments.checkpoint)
    found = rows | kept | recorded
    rows = {name: found[name] for name in METHODS if name in found}
    parts = (
        make_table(rows, config.data, titles),
        as_recorded(recorded, titles),
        make_comparison(rows, titles),
    )
    text = "\n\n".join(filter(None, parts))
    print(f"\n{text}")
    part = f"-first-{arguments.pairs}" if arguments.pairs else ""
    part += "-".join(["-without", *arguments.leave_out]) if arguments.leave_out else ""
    path = arguments.output / f"{arguments.config.stem}{part}.md"
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))
    return 0


def without_pairs(data: EvaluationData, names: Sequence[str]) -> EvaluationData:
    """The data without the pairs onto these subjects.

    Raises:
      InputError: there is no pair onto one of them.
    """
    onto = [data.subjects[fixed].name for fixed, _ in data.pairs]
    for name in names:
        if name not in onto:
            raise InputError(f"--leave-out {name}: no pair is onto it; there are {', '.join(onto)}")
    kept = (pair for pair, name in zip(data.pairs, onto, strict=True) if name not in names)
    return data._replace(pairs=tuple(kept))


def run_methods(data: EvaluationData, arguments: Any, threads: int) -> Rows:
    """The records of every method asked for; one that cannot run here is left out with a line."""
    rows = {}
    for name in METHODS:
        if name not in arguments.methods:
            continue
        try:
            entry = entry_of(name, data, arguments)
        except UnavailableError as error:
            say(f"{name} is left out: {error}")
            continue
        rows[name] = run_method(entry, data, arguments, threads)
    return rows


def kept_rows(
    data: EvaluationData, arguments: Any, threads: int, *, without: Rows
) -> tuple[Rows, Rows]:
    """The records of other methods, where every pair has one: of those that could run here, what
    running them would give; and of those that cannot, the latest."""
    pairs = data.pairs[: arguments.pairs]
    kept, recorded = {}, {}
    for name in METHODS:
        ledger = ledger_of(name, arguments)
        if name in without or not ledger:
            continue
        try:
            entry = entry_of(name, data, arguments)
            rows, records = kept, [ledger.get(key_of(entry, data, p, threads)) for p in pairs]
        except UnavailableError:
            rows, records = recorded, latest_records(ledger, data, pairs)
        except InputError:  # It does not work on this grid.
            continue
        if None not in records:
            rows[name] = records
    return kept, recorded


def latest_records(ledger: Ledger, data: EvaluationData, pairs: Any) -> list[Record | None]:
    """The last that was recorded of each pair, with whatever settings."""
    latest = {(record["fixed"], record["moving"]): record for record in ledger}
    return [latest.get((data.subjects[i].name, data.subjects[j].name)) for i, j in pairs]


def entry_of(name: str, data: EvaluationData, arguments: Any) -> Entry:
    return make_entry(
        name,
        spacing_of(data),
        checkpoint=arguments.checkpoint,
        constants=read_constants(arguments.output).get(name),
        baselines=dict(arguments.baselines),
    )


def ledger_of(name: str, arguments: Any) -> Ledger:
    return Ledger(arguments.output / arguments.config.stem / f"{name}.jsonl")


def key_of(entry: Entry, data: EvaluationData, pair: tuple[int, int], threads: int) -> str:
    """What a pair is kept under: of all that its figures depend on."""
    assert data.label_table is not None, "accuracy is Dice: the data need labels"
    told = [part for index in pair for part in identity(data.subjects[index])]
    spacing = np.round(spacing_of(data), 3)
    return digest(VERSION, entry.settings, threads, spacing, data.label_table.values, *told)


def run_method(entry: Entry, data: EvaluationData, arguments: Any, threads: int) -> list[Record]:
    """The records of a method's pairs: from the cache, else worked out now."""
    assert data.label_table is not None, "accuracy is Dice: the data need labels"
    values, spacing = data.label_table.values, spacing_of(data)
    pairs = data.pairs[: arguments.pairs]
    ledger = ledger_of(entry.name, arguments)
    records, worked, start = [], 0, time.monotonic()
    for place, pair in enumerate(pairs):
        fixed, moving = (data.subjects[index] for index in pair)
        key = key_of(entry, data, pair, threads)
        if key not in ledger:
            images = [np.asarray(subject.image, np.float32) for subject in (fixed, moving)]
            load = os.getloadavg()[0]
            displacement, seconds = entry.run(images[0], images[1])
            score = score_pair(
                displacement, fixed, moving, values, spacing=spacing, seconds=seconds
            )
            record = {
                "method": entry.name,
                "fixed": fixed.name,
                "moving": moving.name,
                "settings": entry.settings,
                "machine": describe_machine(threads),
                "load_before": load,
                "score": {name: x for name, x in score._asdict().items() if not np.isnan(x)},
            }
            ledger.add(key, record)
            worked += 1
            rate = worked / (time.monotonic() - start)
            say(
                f"{entry.name} {place + 1} of {len(pairs)}: {moving.name} to {fixed.name}: Dice "
                f"{score.dice:.3f}, {seconds:.1f} s ({60 * rate:.1f} pairs/min, "
                f"{(len(pairs) - place - 1) / rate:.0f} s left)"
            )
        records.append(ledger[key])
    return records


def identity(subject: Subject) -> tuple[Any, ...]:
    """What tells a subject on any machine, where its resampled voxels differ in their last bits."""
    labels = subject.native.labels if subject.native else subject.labels
    return subject.name, list(np.shape(subject.image)), np.ascontiguousarray(labels)


def tune(held_out: EvaluationData, arguments: Any, threads: int) -> None:
    """Constants of our classical variants, one after the other, on held-out *training* pairs."""
    result = read_constants(arguments.output)
    for name in CLASSICAL:
        if name not in arguments.methods:
            continue
        best: dict[str, Any] = {}
        for constant, values in _CANDIDATES.items():
            scored = []
            for value in values:
                entry = make_entry(name, spacing_of(held_out), constants={**best, constant: value})
                records = run_method(entry, held_out, arguments, threads)
                scored.append((float(np.mean([r["score"]["dice"] for r in records])), value))
            dice, best[constant] = max(scored, key=lambda pair: pair[0])
            say(
                f"{name}: {constant} = {best[constant]}: Dice {dice:.4f} on held-out training pairs"
            )
        result[name] = best
    write_record(arguments.output / "classical_constants.json", result)


def titles_of(checkpoint: pathlib.Path | None) -> dict[str, str]:
    """What the table calls each method; ours by the checkpoint, where one is given."""
    if checkpoint is None:
        return METHODS
    name = checkpoint.absolute().name
    return {
        key: title if "_labels" in key else title.replace(UNSUPERVISED, name)
        for key, title in METHODS.items()
    }


def make_table(rows: Rows, data: DataConfig, titles: Mapping[str, str]) -> str:
    """Markdown: one line a method, and what the figures were measured on."""
    lines = [
        "| method | pairs | Dice | folding % | NDV % | SDlogJ | HD95 (voxels) | s / pair |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, records in rows.items():
        table = np.array([[r["score"][column] for column in _COLUMNS] for r in records])
        dice, folding, ndv, sdlogj, hd95, seconds = table.mean(0)
        lines.append(
            f"| {titles[name]} | {len(records)} | {dice:.4f} ± {table[:, 0].std():.4f} "
            f"| {folding:.4f} | {ndv:.4f} | {sdlogj:.4f} | {hd95:.3f} | {seconds:.2f} |"
        )
    source = pathlib.Path(data.prepared or data.validation_path or data.path or data.format).name
    lines += ["", f"Validation pairs of {source}. Seconds are of a pair, compilation left out."]
    return "\n".join([*lines, *worst_pairs(rows, titles), *machines(rows, titles)])


def worst_pairs(rows: Rows, titles: Mapping[str, str]) -> list[str]:
    """What the means of folding and NDV hide, of each of ours."""
    lines = []
    for name in (name for name in _OURS if name in rows):
        folding, ndv = (
            max(record["score"][column] for record in rows[name])
            for column in ("folding_percent", "ndv_percent")
        )
        lines.append(f"{titles[name]}, the worst pair: folding {folding:.4f} %, NDV {ndv:.4f} %.")
    return lines


def machines(rows: Rows, titles: Mapping[str, str]) -> list[str]:
    """Which machine ran what, and the largest load that it had before a pair of each method."""
    found: dict[str, list[str]] = {}
    for name, records in rows.items():
        for machine in sorted({r["machine"] for r in records}):
            loads = [r["load_before"] for r in records if r["machine"] == machine]
            found.setdefault(machine, []).append(f"{titles[name]} ({max(loads):.1f})")
    return [
        f"{machine} (load before a pair at most): {', '.join(names)}."
        for machine, names in found.items()
    ]


def as_recorded(recorded: Rows, titles: Mapping[str, str]) -> str:
    """Which rows could not be checked against the methods as they are now."""
    names = ", ".join(titles[name] for name in recorded)
    return f"As recorded, for these cannot run here: {names}." if names else ""


def make_comparison(rows: Rows, titles: Mapping[str, str]) -> str:
    """Markdown: Dice of each of ours less that of every other method, on the pairs of both."""
    scores = {
        name: {(r["fixed"], r["moving"]): r["score"]["dice"] for r in records}
        for name, records in rows.items()
    }
    tables = []
    for ours in (name for name in _OURS if name in rows and len(rows) > 1):
        lines = header(f"Dice of {titles[ours]} less that of")
        for name in rows:
            if name != ours:
                pairs = [pair for pair in scores[ours] if pair in scores[name]]
                found = compare(*([scores[of][pair] for pair in pairs] for of in (ours, name)))
                lines.append(as_row(titles[name], found, digits=4))
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare registration methods.")
    usual = [name for name in METHODS if name not in _LEFT_OUT]
    parser.add_argument("--config", type=pathlib.Path, default=pathlib.Path("configs/ixi_2mm.yaml"))
    parser.add_argument("--checkpoint", type=pathlib.Path, help="default: the released weights")
    add_baseline_option(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=usual, metavar="NAME")
    parser.add_argument("--pairs", type=int, help="only the first N")
    parser.add_argument(
        "--leave-out", nargs="+", default=[], metavar="SUBJECT", help="no pairs onto these"
    )
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    parser.add_argument("--tune", action="store_true", help="constants of our classical Demons")
    parser.add_argument("--override", dest="overrides", action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
