"""Variants of constants judged on cases: what is common to the scripts that do it."""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from contrast_pairs import POINTS, Case, point_errors
from imposed import impose, origins, points_in
from jaxtyping import Float
from machine import describe_machine, hold_to_threads
from numpy import ndarray
from painted import painted_subjects
from records import RESULTS, Ledger, Record, digest

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.data import Subject
from drivenmorph_jax.data.labels import read_label_table
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation import overlap
from drivenmorph_jax.objective.metrics import folding_percent, ndv_percent, sdlogj
from drivenmorph_jax.spatial.fields import compose
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.writing import write_atomically

PAINTED = (("01", "08"), ("10", "15"), ("06", "19"))
"""Pairs of label maps, by their numbers."""
RELEASED = "released"
"""The variant that the others are compared with."""
NOISE = 0.02
"""Deviation of what is added to both images of a known deformation; bright tissue is near 1."""

Bounds = tuple[tuple[float, float], tuple[float, float]]
"""Of a known deformation: correlation length, and its least peak and mean; mm."""


class Judged(NamedTuple):
    """A pair of images on one grid, and the figures of a displacement between them.

    Attributes:
      fixed, moving: (D, H, W), background exactly 0.
      score: voxels of the grid to "dice", or "error" in mm.
    """

    fixed: Float[ndarray, "d h w"]
    moving: Float[ndarray, "d h w"]
    score: Callable[[Float[ndarray, "d h w 3"]], Record]


class Study(NamedTuple):
    """What is judged on what.

    Attributes:
      name: of its files.
      told: settings that all its figures depend on.
      variants: plain values of each, by name; the figures depend on them too.
      cases: by name, whose first word is a kind; each is worked out where it is needed.
      finder: of a pair, what finds the displacement by a variant, told by its name.
    """

    name: str
    told: Any
    variants: Mapping[str, Any]
    cases: Mapping[str, Callable[[], Judged]]
    finder: Callable[[ndarray, ndarray], Callable[[str], ndarray]]


def main(make_study: Callable[[pathlib.Path], Study]) -> int:
    """Run what lacks, print the table of all that is kept, and write it.

    Args:
      make_study: of the data sets in a folder.
    """
    parser, arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        study = make_study(arguments.data)
        for name in ("cases", "variants"):
            known = getattr(study, name)
            asked = getattr(arguments, name) or list(known)
            setattr(arguments, name, asked)
            for wrong in set(asked) - set(known):
                parser.error(f"--{name} {wrong!r}: there are {', '.join(map(repr, known))}")
        ledger = Ledger(arguments.output / f"{study.name}.jsonl")
        run(study, arguments, ledger, threads)
    except InputError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    text = table(kept_records(study, ledger), list(study.variants))
    print(f"\n{text}")
    path = arguments.output / f"{study.name}.md"
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))
    return 0


def parse_arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description="Judge constants by data that are not MALF.")
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    data = pathlib.Path(os.environ.get("DRIVENMORPH_DATA", default))
    parser.add_argument("--data", type=pathlib.Path, default=data, help="folder of the data sets")
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--threads", type=int, help="default: all")
    return parser, parser.parse_args()


def run(study: Study, arguments: Any, ledger: Ledger, threads: int) -> None:
    """A record of every case and variant asked for: from the ledger, else worked out now."""
    worked, start = 0, time.monotonic()
    for place, case in enumerate(arguments.cases):
        missing = [v for v in arguments.variants if key_of(study, case, v) not in ledger]
        if not missing:
            continue
        judged = study.cases[case]()
        find = study.finder(judged.fixed, judged.moving)
        for index, variant in enumerate(missing):
            load = os.getloadavg()[0]
            record = {"case": case, "variant": variant} | judged.score(find(variant))
            machine = {"machine": describe_machine(threads), "load_before": load}
            ledger.add(key_of(study, case, variant), record | machine)
            worked += 1
            left = len(missing) - index - 1
            left += (len(arguments.cases) - place - 1) * len(arguments.variants)
            each = (time.monotonic() - start) / worked
            told = f"Dice {record['dice']:.4f}" if "dice" in record else f"{record['error']:.3f} mm"
            say(f"{case}, {variant}: {told} ({each:.0f} s each, {each * left:.0f} s left)")


def key_of(study: Study, case: str, variant: str) -> str:
    return digest(0, study.told, case, study.variants[variant])


def kept_records(study: Study, ledger: Ledger) -> list[Record]:
    """Those that running the script would give."""
    keys = [key_of(study, case, variant) for case in study.cases for variant in study.variants]
    return [ledger[key] for key in keys if key in ledger]


def people(fixed: Subject, moving: Subject, values: Sequence[int]) -> Judged:
    """Two people, by the Dice of their structures."""
    images = [np.asarray(subject.image, np.float32) for subject in (fixed, moving)]

    def score(displacement: ndarray) -> Record:
        dice = overlap(fixed, moving, displacement, values)
        return {"dice": dice} | _regularity(displacement, images[0] != 0)

    return Judged(images[0], images[1], score)


def painted_people(fixed: str, moving: str, spacing: float, data: pathlib.Path) -> Judged:
    """Two people of the label maps in `data`, painted like a T1."""
    names = [f"training_seg_{number}" for number in (fixed, moving)]
    pair = painted_subjects(data / "labelmaps_1mm", names, spacing)
    return people(pair[0], pair[1], read_label_table(data / "labels.tsv").values)


def deformed(
    image: Float[ndarray, "d h w"], seed: int, spacing: float, parts: Sequence[Bounds]
) -> Judged:
    """A brain and the same after a known deformation, noise on both: mean error at points of it.

    Args:
      image: background 0, bright tissue near 1.
      seed: decides everything.
      spacing: mm per voxel.
      parts: of the deformation, which is one after the other.
    """
    brain, rng = image != 0, np.random.default_rng(seed)
    field = jnp.zeros((*image.shape, 3), jnp.float32)
    for lengths, bounds in parts:
        part = impose(seed, brain, spacing, lengths=lengths, bounds=bounds)
        field = compose(field, jnp.asarray(part.displacement))
    moved = np.asarray(warp(jnp.asarray(image, jnp.float32)[..., None], field))[..., 0]
    fixed, moving = (_with_noise(rng, one) for one in (image, moved))
    points = points_in(rng, brain, POINTS)
    case = Case(fixed, moving, np.eye(4), points, origins(np.asarray(field), points))

    def score(displacement: ndarray) -> Record:
        error = spacing * float(point_errors(displacement, case).mean())
        return {"error": error} | _regularity(displacement, brain)

    return Judged(fixed, moving, score)


def _with_noise(rng: np.random.Generator, image: ndarray) -> Float[ndarray, "d h w"]:
    noisy = np.maximum(image + NOISE * rng.normal(size=image.shape), 0.01)
    return np.where(image > 0, noisy, 0).astype(np.float32)


def _regularity(displacement: ndarray, brain: ndarray) -> Record:
    return {
        "folding_percent": folding_percent(displacement, mask=brain),
        "ndv_percent": ndv_percent(displacement, mask=brain),
        "sdlogj": sdlogj(displacement),
    }


def table(records: Sequence[Record], variants: Sequence[str]) -> str:
    """Markdown: a line a variant, with its mean figures and what they are above the released."""
    kinds = {r["case"].split()[0]: "error" if "error" in r else "dice" for r in records}
    titles = {"dice": "Dice", "error": "mm left"}
    heads = [
        f"{kind}: {titles[figure]} | above the released | NDV % | SDlogJ"
        for kind, figure in kinds.items()
    ]
    lines = [f"| {' | '.join(['variant', *heads])} |", "|---" * (1 + 4 * len(kinds)) + "|"]
    for variant in variants:
        cells = [_cells(records, variant, kind, figure) for kind, figure in kinds.items()]
        lines.append(f"| {' | '.join([variant, *cells])} |")
    cases = {record["case"] for record in records}
    counts = [f"{kind}: {sum(kind in case for case in cases)}" for kind in kinds]
    machines = sorted({record["machine"] for record in records})
    return "\n".join([*lines, "", f"Pairs, {', '.join(counts)}. {'; '.join(machines)}"])


def _cells(records: Sequence[Record], variant: str, kind: str, figure: str) -> str:
    of_kind = [record for record in records if record["case"].split()[0] == kind]
    found = {r["case"]: r for r in of_kind if r["variant"] == variant}
    base = {r["case"]: r[figure] for r in of_kind if r["variant"] == RELEASED}
    if not found:
        return "– | – | – | –"
    mean, ndv, spread = (
        np.mean([r[column] for r in found.values()]) for column in (figure, "ndv_percent", "sdlogj")
    )
    digits = 3 if figure == "error" else 4
    above = [found[case][figure] - base[case] for case in found if case in base]
    told = "–"
    if variant != RELEASED and above:
        ends = [f"{end:+.{digits}f}" for end in (min(above), max(above))]
        told = f"{np.mean(above):+.{digits}f} ({' to '.join(ends)})"
    return f"{mean:.{digits}f} | {told} | {ndv:.4f} | {spread:.4f}"
