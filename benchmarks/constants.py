"""Variants of constants judged on cases: what is common to the scripts that do it."""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from judged import Judged
from machine import describe_machine, hold_to_threads
from numpy import ndarray
from records import RESULTS, Ledger, Record, digest

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.writing import write_atomically

RELEASED = "released"
"""The variant that the others are compared with."""


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
        cases = chosen(parser, "--cases", arguments.cases, study.cases)
        variants = chosen(parser, "--variants", arguments.variants, study.variants)
        ledger = Ledger(arguments.output / f"{study.name}.jsonl")
        run(study, cases, variants, ledger, threads)
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


def chosen(
    parser: argparse.ArgumentParser, option: str, asked: list[str] | None, known: Mapping[str, Any]
) -> list[str]:
    """The names asked for, all of them by default; an unknown one ends the script."""
    for wrong in set(asked or ()) - set(known):
        parser.error(f"{option} {wrong!r}: there are {', '.join(map(repr, known))}")
    return asked or list(known)


def run(study: Study, cases: list[str], variants: list[str], ledger: Ledger, threads: int) -> None:
    """A record of every case and variant asked for: from the ledger, else worked out now."""
    worked, start = 0, time.monotonic()
    for place, case in enumerate(cases):
        missing = [v for v in variants if key_of(study, case, v) not in ledger]
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
            left += (len(cases) - place - 1) * len(variants)
            each = (time.monotonic() - start) / worked
            told = f"Dice {record['dice']:.4f}" if "dice" in record else f"{record['error']:.3f} mm"
            say(f"{case}, {variant}: {told} ({each:.0f} s each, {each * left:.0f} s left)")


def key_of(study: Study, case: str, variant: str) -> str:
    return digest(0, study.told, case, study.variants[variant])


def kept_records(study: Study, ledger: Ledger) -> list[Record]:
    """Those that running the script would give."""
    keys = [key_of(study, case, variant) for case in study.cases for variant in study.variants]
    return [ledger[key] for key in keys if key in ledger]


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
    cases = [case.split()[0] for case in {record["case"] for record in records}]
    counts = [f"{kind}: {cases.count(kind)}" for kind in kinds]
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
