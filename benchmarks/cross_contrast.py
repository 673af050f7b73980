"""Registration across contrasts, against deformations that are known: TRE in mm, in one table.

    python benchmarks/cross_contrast.py [--checkpoint DIR] [--methods NAME …] [--seeds N]

One patient's T1, T2 and FLAIR lie in one space (contrasts_1mm in DRIVENMORPH_DATA). The T1 is
deformed by random smooth diffeomorphisms (`imposed.py`) and registered to the T2 and to the FLAIR
as they are: at 2,000 points of the brain, how far from the true place does the map lead? All
methods start from one affine, found by mutual information. Ours is brain-any, which has seen no T2
and no FLAIR. Every pair is kept in OUTPUT/cross_contrast/METHOD.jsonl, so that the script continues
where it was stopped; the table has the methods that are not asked for as well, where every seed of
them is kept.
"""

import argparse
import functools
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np
from contrast_pairs import CONTRASTS, POINTS, SPACING, Case, load_contrasts, make_case, point_errors
from imposed import Imposed, impose
from machine import describe_machine, hold_to_threads
from methods import Entry, UnavailableError, make_entry, ours
from numpy import ndarray
from paired import as_row, compare, header
from records import RESULTS, Ledger, Record, digest

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume
from drivenmorph_jax.objective.metrics import folding_percent, ndv_percent
from drivenmorph_jax.pipeline.pretrained import (
    Pretrained,
    load_checkpoint,
    load_pretrained,
    prolonged,
)
from drivenmorph_jax.pipeline.refinement import refine_config
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.writing import write_atomically

# Raise it whenever a pair would give other figures.
VERSION = 3
METHODS = {
    "affine": "affine only, by mutual information",
    "ants_syn": "ANTs SyN, mutual information",
    "convex_adam": "convexAdam, self-similarity",
    "classical_mind": "ours, without weights: symmetric, of self-similarity",
    "drivenmorph_network": "ours: brain-any, without correlation iterations",
    "drivenmorph": "ours: DrivenMorph, brain-any",
    "drivenmorph_refined": "ours: brain-any, refined",
    "drivenmorph_mi": "ours: brain-any, refined by mutual information",
    "drivenmorph_mind": "ours: brain-any, refined by MIND",
}
_REFINED_BY = {"drivenmorph_mi": "mi", "drivenmorph_mind": "mind"}
_REFERENCES = ("ants_syn", "convex_adam")
_COLUMNS = ("tre", "tre_95", "folding_percent", "ndv_percent", "seconds")
WEIGHTS = "brain-any"


def main() -> int:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        images = load_contrasts(arguments.data)
        entries, unavailable = make_entries(arguments)
        asked = [entry for entry in entries if entry.name in arguments.methods]
        records = run(images, asked, arguments, threads)
    except InputError as error:
        print(f"cross_contrast.py: error: {error}", file=sys.stderr)
        return 2
    if not records:
        print("cross_contrast.py: error: no method can run: see above", file=sys.stderr)
        return 2
    others = [entry for entry in entries if entry not in asked]
    records += kept_records(others, unavailable, arguments, threads)
    text = make_table(records)
    print(f"\n{text}")
    path = arguments.output / "cross_contrast.md"
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))
    return 0


def make_entries(arguments: argparse.Namespace) -> tuple[list[Entry], list[str]]:
    """Every method that can run here, and the names of those that cannot."""
    checkpoint = arguments.checkpoint
    weights = load_checkpoint(checkpoint) if checkpoint else load_pretrained(WEIGHTS)
    entries, unavailable = [], []
    for name in METHODS:
        try:
            entries.append(entry_of(name, weights, arguments.refine))
        except UnavailableError as error:
            unavailable.append(name)
            if name in arguments.methods:
                say(f"{name} is left out: {error}")
    return entries, unavailable


def entry_of(name: str, weights: Pretrained, iterations: int) -> Entry:
    spacing = (SPACING, SPACING, SPACING)
    if not name.startswith("drivenmorph"):
        return make_entry(name, spacing)
    similarity = _REFINED_BY.get(name)
    cfg = refine_config(iterations, similarity=similarity) if similarity else None
    longer = name == "drivenmorph_refined"
    return ours(name, spacing, prolonged(weights, iterations) if longer else weights, cfg)


def run(
    images: dict[str, Volume], entries: list[Entry], arguments: Any, threads: int
) -> list[Record]:
    """A record for every seed, contrast and method: from the cache, else worked out now."""
    records, worked, spent = [], 0, 0.0
    total = arguments.seeds * len(CONTRASTS) * len(entries)
    ledgers = {entry.name: ledger_of(entry.name, arguments) for entry in entries}
    for seed in range(arguments.seeds):
        deformation = functools.cache(functools.partial(impose_told, seed, images["t1"].data != 0))
        for contrast in CONTRASTS:
            case = functools.cache(lambda f=deformation, c=contrast: make_case(images, c, f()))
            for entry in entries:
                key = key_of(entry, contrast, seed, threads)
                ledger = ledgers[entry.name]
                if key not in ledger:
                    start = time.monotonic()
                    record = run_pair(entry, case()) | {"contrast": contrast, "seed": seed}
                    record["deformation"] = describe(deformation())
                    ledger.add(key, record | {"machine": describe_machine(threads)})
                    worked, spent = worked + 1, spent + time.monotonic() - start
                    left = spent / worked * (total - len(records) - 1)
                    say(
                        f"{entry.name}, T1 to {contrast.upper()}, seed {seed}: TRE "
                        f"{record['tre']:.2f} mm, {record['seconds']:.1f} s "
                        f"({len(records) + 1} of {total}, {left:.0f} s left)"
                    )
                records.append(ledger[key])
    return records


def kept_records(
    entries: list[Entry], unavailable: list[str], arguments: Any, threads: int
) -> list[Record]:
    """What earlier runs recorded of other methods, where no seed is lacking: of those that could
    run here, what running them would give; of those that cannot, the latest."""
    cases = [(c, seed) for seed in range(arguments.seeds) for c in CONTRASTS]
    rows = []
    for entry in entries:
        ledger = ledger_of(entry.name, arguments)
        rows.append([ledger.get(key_of(entry, *case, threads)) for case in cases])
    for name in unavailable:
        latest = {(r["contrast"], r["seed"]): r for r in ledger_of(name, arguments)}
        rows.append([latest.get(case) for case in cases])
    return [record for row in rows if None not in row for record in row]


def ledger_of(name: str, arguments: Any) -> Ledger:
    return Ledger(arguments.output / "cross_contrast" / f"{name}.jsonl")


def key_of(entry: Entry, contrast: str, seed: int, threads: int) -> str:
    return digest(VERSION, POINTS, threads, entry.settings, contrast, seed)


def impose_told(seed: int, brain: ndarray) -> Imposed:
    found = impose(seed, brain, SPACING)
    say(f"seed {seed}: {', '.join(f'{k} {v:.2f}' for k, v in describe(found).items())}")
    return found


def describe(found: Imposed) -> dict[str, float]:
    return {name: value for name, value in found._asdict().items() if name != "displacement"}


def run_pair(entry: Entry, case: Case) -> Record:
    load = os.getloadavg()[0]
    displacement, seconds = entry.run(case.fixed, case.moving)
    errors, brain = point_errors(displacement, case), case.fixed != 0
    return {
        "method": entry.name,
        "settings": entry.settings,
        "tre": float(errors.mean()),
        "tre_95": float(np.percentile(errors, 95)),
        "folding_percent": folding_percent(displacement, mask=brain),
        "ndv_percent": ndv_percent(displacement, mask=brain),
        "seconds": seconds,
        "load_before": load,
    }


def make_table(records: list[Record]) -> str:
    """Markdown: a table for each contrast, and paired tests against the other tools."""
    lines = []
    for contrast in CONTRASTS:
        rows = {
            name: [r for r in records if (r["method"], r["contrast"]) == (name, contrast)]
            for name in METHODS
        }
        rows = {name: found for name, found in rows.items() if found}
        lines += [
            f"| T1 to {contrast.upper()} | seeds | TRE mm | 95th percent | folding % | NDV % "
            "| s / pair |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, found in rows.items():
            table = np.array([[r[column] for column in _COLUMNS] for r in found])
            tre, tre_95, folding, ndv, seconds = table.mean(0)
            lines.append(
                f"| {METHODS[name]} | {len(found)} | {tre:.2f} ± {table[:, 0].std():.2f} "
                f"| {tre_95:.2f} | {folding:.4f} | {ndv:.4f} | {seconds:.1f} |"
            )
        for other in _REFERENCES:
            lines += ["", *comparison(rows, other)] if other in rows else []
        lines.append("")
    found = {r["seed"]: r["deformation"] for r in records}.values()
    size = ", ".join(
        f"{name} {min(d[name] for d in found):.1f} to {max(d[name] for d in found):.1f} mm"
        for name in ("peak", "mean", "length")
    )
    least = min(d["determinant"] for d in found)
    load = max(r["load_before"] for r in records)
    machines = " and ".join(sorted({r["machine"] for r in records}))
    return "\n".join(
        [
            *lines,
            f"Imposed deformations: {size} (correlation), least determinant {least:.2f}. "
            f"{POINTS} points a pair. {machines}; load at most {load:.1f}.",
        ]
    )


def comparison(rows: dict[str, list[Record]], other: str) -> list[str]:
    """Markdown: TRE of every method less that of another, on the same seeds."""
    lines = header(f"TRE less that of {METHODS[other]}")
    reference = [record["tre"] for record in rows[other]]
    for name, records in rows.items():
        if name != other:
            found = compare([record["tre"] for record in records], reference)
            lines.append(as_row(METHODS[name], found, digits=2))
    return lines


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Registration across contrasts: TRE.")
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    data = pathlib.Path(os.environ.get("DRIVENMORPH_DATA", default)) / "contrasts_1mm"
    parser.add_argument("--data", type=pathlib.Path, default=data)
    parser.add_argument("--checkpoint", type=pathlib.Path, help="default: the released brain-any")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10, metavar="N")
    parser.add_argument("--refine", type=int, default=50, metavar="N", help="iterations")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
