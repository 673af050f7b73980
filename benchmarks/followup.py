"""Follow-up of one patient: does the map of one contrast also fit the other, which it never saw?

    python benchmarks/followup.py [--checkpoint DIR] [--baseline unet=DIR …] [--methods NAME …]

One patient's T1 and FLAIR at two times (followup in DRIVENMORPH_DATA), each time onto the other: a
method registers one contrast, and what is scored is the correlation of the other one, carried by
the same map, in the interior of both brains. A map that follows the noise of one contrast gains
nothing there; a change that both show, such as a lesion, it may still follow. Beside it: how far
from where they started points of the brain come back, there by one map and back by the other.
Every pair of a method is kept in OUTPUT/cache, so that the script continues where it was stopped.
"""

import argparse
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from followup_pairs import CONTRASTS, SPACING, STUDIES, Pair, load_brains, make_pair
from imposed import points_in
from machine import describe_machine, hold_to_threads
from methods import METHODS, Entry, UnavailableError, add_baseline_option, make_entry
from numpy import ndarray
from records import Record, digest, read_record, write_record
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
# The affine is part of the preparation of all but these.
_LEFT_OUT = ("ants_syn_own_affine", "ants_syncc_own_affine")
_COLUMNS = ("seen", "withheld", "round_trip", "folding_percent", "ndv_percent", "seconds")


def main() -> int:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        brains = {study: load_brains(arguments.data, study) for study in STUDIES}
        pairs = [make_pair(brains, *order) for order in itertools.permutations(STUDIES)]
        records = [
            record
            for entry in make_entries(arguments)
            for contrast in CONTRASTS
            for record in run(entry, pairs, contrast, arguments.output, threads)
        ]
    except InputError as error:
        print(f"followup.py: error: {error}", file=sys.stderr)
        return 2
    if not records:
        print("followup.py: error: no method can run: see above", file=sys.stderr)
        return 2
    text = make_table(records, threads)
    print(f"\n{text}")
    path = arguments.output / "followup.md"
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))
    return 0


def make_entries(arguments: argparse.Namespace) -> Iterator[Entry]:
    """The methods asked for; one that cannot run here is left out with a line."""
    for name in METHODS:
        if name in arguments.methods:
            try:
                yield make_entry(
                    name,
                    (SPACING, SPACING, SPACING),
                    checkpoint=arguments.checkpoint,
                    baselines=dict(arguments.baselines),
                )
            except UnavailableError as error:
                say(f"{name} is left out: {error}")


def run(
    entry: Entry, pairs: list[Pair], contrast: str, output: pathlib.Path, threads: int
) -> list[Record]:
    """A record for either direction of a contrast: from the cache, else worked out now."""
    images = [
        image for pair in pairs for part in (pair.fixed, pair.moving) for image in part.values()
    ]
    key = digest(VERSION, contrast, POINTS, threads, entry.settings, *images)
    path = output / "cache" / entry.name / f"{contrast}-{key}.json"
    if not path.is_file():
        load = os.getloadavg()[0]
        results = [entry.run(pair.fixed[contrast], pair.moving[contrast]) for pair in pairs]
        maps = [pair.transform(found) for pair, (found, _) in zip(pairs, results, strict=True)]
        records = [
            score(pair, contrast, displacement)
            | {
                "method": entry.name,
                "contrast": contrast,
                "fixed": pair.fixed_study,
                "settings": entry.settings,
                "round_trip": round_trip(pair, there, back),
                "seconds": seconds,
                "load_before": load,
            }
            for pair, (displacement, seconds), there, back in zip(
                pairs, results, maps, reversed(maps), strict=True
            )
        ]
        write_record(path, {"machine": describe_machine(threads), "records": records})
        withheld = " and ".join(f"{record['withheld']:.4f}" for record in records)
        say(f"{entry.name}, {contrast} registered: the other contrast correlates by {withheld}")
    return read_record(path)["records"]


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


def make_table(records: list[Record], threads: int) -> str:
    """Markdown: one line a method and contrast, means over the two directions."""
    lines = [
        "| method | registered | its correlation | of the other contrast | there and back, mm "
        "| folding % | NDV % | s / pair |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, contrast), found in itertools.groupby(
        records, key=lambda record: (record["method"], record["contrast"])
    ):
        table = np.array([[record[column] for column in _COLUMNS] for record in found])
        seen, withheld, distance, folding, ndv, seconds = table.mean(0)
        lines.append(
            f"| {METHODS[name]} | {contrast} | {seen:.4f} | {withheld:.4f} | {distance:.3f} "
            f"| {folding:.4f} | {ndv:.4f} | {seconds:.1f} |"
        )
    load = max(record["load_before"] for record in records)
    note = f"One patient, two times, both directions. {describe_machine(threads)}"
    return "\n".join([*lines, "", f"{note}; load at most {load:.1f}."])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Follow-up pairs: agreement of what was withheld.")
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    data = pathlib.Path(os.environ.get("DRIVENMORPH_DATA", default)) / "followup"
    usual = [name for name in METHODS if name not in _LEFT_OUT]
    parser.add_argument("--data", type=pathlib.Path, default=data)
    parser.add_argument("--checkpoint", type=pathlib.Path, help="default: the released weights")
    add_baseline_option(parser)
    parser.add_argument("--methods", nargs="+", choices=usual, default=usual, metavar="NAME")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/followup"))
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
