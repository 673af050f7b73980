"""Follow-up of one patient: does the map of one contrast also fit the other, which it never saw?

    python benchmarks/followup.py [--checkpoint DIR] [--baseline unet=DIR …] [--methods NAME …]

One patient's T1 and FLAIR at two times (followup in DRIVENMORPH_DATA), each time onto the other: a
method registers one contrast, and what is scored is the correlation of the other one, carried by
the same map, in the interior of both brains. A map that follows the noise of one contrast gains
nothing there; a change that both show, such as a lesion, it may still follow. Beside it: how far
from where they started points of the brain come back, there by one map and back by the other.
Every contrast of a method is kept in OUTPUT/followup/METHOD.jsonl, so that the script continues
where it was stopped; the table has what is kept of other methods, too.
"""

import argparse
import itertools
import os
import pathlib
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
from followup_pairs import CONTRASTS, SPACING, STUDIES, Pair, load_brains, make_pair
from imposed import points_in
from machine import describe_machine, hold_to_threads
from methods import METHODS, Entry, UnavailableError, add_baseline_option, make_entry
from numpy import ndarray
from records import RESULTS, Ledger, Record, digest
from scipy import ndimage

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Transform
from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.objective.metrics import folding_percent, ndv_percent
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.writing import write_atomically

# Raise it whenever a pair would give other figures.
VERSION = 2
POINTS = 2_000
# mm that the interior lies below the edge of both brains: one mask cuts both contrasts, so that
# their edges agree where either's do.
DEPTH = 6.0
# The affine is part of the preparation of all but those that bring their own.
USUAL = [name for name in METHODS if not name.endswith("_own_affine")]
_COLUMNS = ("seen", "withheld", "round_trip", "folding_percent", "ndv_percent", "seconds")


def main() -> int:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        brains = {study: load_brains(arguments.data, study) for study in STUDIES}
        pairs = [make_pair(brains, *order) for order in itertools.permutations(STUDIES)]
        records = [record for name in USUAL for record in run(name, pairs, arguments, threads)]
    except InputError as error:
        print(f"followup.py: error: {error}", file=sys.stderr)
        return 2
    if not records:
        print("followup.py: error: no method can run: see above", file=sys.stderr)
        return 2
    text = make_table(records)
    print(f"\n{text}")
    path = arguments.output / "followup.md"
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))
    return 0


def run(name: str, pairs: list[Pair], arguments: Any, threads: int) -> list[Record]:
    """What is recorded of a method, a record a contrast; of one asked for, worked out now if not.

    Of a method that cannot run here, the latest of each contrast.
    """
    ledger = Ledger(arguments.output / "followup" / f"{name}.jsonl")
    asked = name in arguments.methods
    try:
        entry = make_entry(
            name,
            (SPACING, SPACING, SPACING),
            checkpoint=arguments.checkpoint,
            baselines=dict(arguments.baselines),
        )
    except UnavailableError as error:
        latest = {record["contrast"]: record for record in ledger}
        if asked or latest:
            outcome = "its records stand as they are" if latest else "it is left out"
            say(f"{name} cannot run here, {outcome}: {error}")
        return [latest[contrast] for contrast in CONTRASTS if contrast in latest]
    found = []
    for contrast in CONTRASTS:
        key = key_of(entry, pairs, contrast, threads)
        if asked and key not in ledger:
            ledger.add(key, register_both_ways(entry, pairs, contrast, threads))
        found += [ledger[key]] if key in ledger else []
    return found


def key_of(entry: Entry, pairs: list[Pair], contrast: str, threads: int) -> str:
    images = [
        image for pair in pairs for part in (pair.fixed, pair.moving) for image in part.values()
    ]
    return digest(VERSION, contrast, POINTS, threads, entry.settings, *images)


def register_both_ways(entry: Entry, pairs: list[Pair], contrast: str, threads: int) -> Record:
    """Of one contrast: the figures of either direction."""
    load = os.getloadavg()[0]
    results = [entry.run(pair.fixed[contrast], pair.moving[contrast]) for pair in pairs]
    maps = [pair.transform(found) for pair, (found, _) in zip(pairs, results, strict=True)]
    directions = [
        score(pair, contrast, displacement)
        | {
            "fixed": pair.fixed_study,
            "round_trip": round_trip(pair, there, back),
            "seconds": seconds,
        }
        for pair, (displacement, seconds), there, back in zip(
            pairs, results, maps, reversed(maps), strict=True
        )
    ]
    withheld = " and ".join(f"{found['withheld']:.4f}" for found in directions)
    say(f"{entry.name}, {contrast} registered: the other contrast correlates by {withheld}")
    return {
        "method": entry.name,
        "contrast": contrast,
        "settings": entry.settings,
        "machine": describe_machine(threads),
        "load_before": load,
        "directions": directions,
    }


def score(pair: Pair, contrast: str, displacement: ndarray) -> Record:
    """Correlations of what was registered and of what was withheld, and the map's regularity."""
    correlations, inside = {}, interior(pair)
    for name in CONTRASTS:
        moving = jnp.asarray(pair.moving[name])[..., None]
        warped = np.asarray(warp(moving, jnp.asarray(displacement)))[..., 0]
        role = "seen" if name == contrast else "withheld"
        correlations[role] = float(np.corrcoef(pair.fixed[name][inside], warped[inside])[0, 1])
    brain = pair.fixed[contrast] != 0
    return correlations | {
        "folding_percent": folding_percent(displacement, mask=brain),
        "ndv_percent": ndv_percent(displacement, mask=brain),
    }


def interior(pair: Pair) -> ndarray:
    """What lies deep in both brains after the affine: the same voxels for every method."""
    images = [*pair.fixed.values(), *pair.moving.values()]
    both = np.logical_and.reduce([image != 0 for image in images])
    return ndimage.binary_erosion(both, iterations=round(DEPTH / SPACING))


def round_trip(pair: Pair, there: Transform, back: Transform) -> float:
    """Mean distance, mm, of points of the fixed brain from where both maps bring them."""
    voxels = points_in(np.random.default_rng(0), pair.fixed[CONTRASTS[0]] != 0, POINTS)
    points = apply_affine(pair.grid.affine, voxels)
    return float(np.linalg.norm(back(there(points)) - points, axis=-1).mean())


def make_table(records: list[Record]) -> str:
    """Markdown: one line a method and contrast, means over the two directions."""
    lines = [
        "| method | registered | its correlation | of the other contrast | there and back, mm "
        "| folding % | NDV % | s / pair |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        table = np.array([[found[column] for column in _COLUMNS] for found in record["directions"]])
        seen, withheld, distance, folding, ndv, seconds = table.mean(0)
        lines.append(
            f"| {METHODS[record['method']]} | {record['contrast']} | {seen:.4f} | {withheld:.4f} "
            f"| {distance:.3f} | {folding:.4f} | {ndv:.4f} | {seconds:.1f} |"
        )
    load = max(record["load_before"] for record in records)
    machines = " and ".join(sorted({record["machine"] for record in records}))
    note = f"One patient, two times, both directions. {machines}"
    return "\n".join([*lines, "", f"{note}; load at most {load:.1f}."])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Follow-up pairs: agreement of what was withheld.")
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    data = pathlib.Path(os.environ.get("DRIVENMORPH_DATA", default)) / "followup"
    parser.add_argument("--data", type=pathlib.Path, default=data)
    parser.add_argument("--checkpoint", type=pathlib.Path, help="default: the released weights")
    add_baseline_option(parser)
    parser.add_argument("--methods", nargs="+", choices=USUAL, default=USUAL, metavar="NAME")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
