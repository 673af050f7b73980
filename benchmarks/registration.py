"""Wall time per stage and peak memory of `drivenmorph register`, against antspyx SyN.

    python benchmarks/registration.py [--pairs 2mm 1mm] [--refine 0 20] [--skip-ants]
                                      [--threads N] [--output DIR]

Two files in, all results in files out, on real pairs (DRIVENMORPH_DATA): two people at 2 mm, and
two at 1 mm. Every run is a process of its own, on the same cores. Each of ours runs twice: with an
empty compilation cache, as on a machine's first pair of this shape, and with a warm one. Each case
is kept in OUTPUT/cache, so that the script continues where it was stopped.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from machine import describe_machine, hold_to_threads
from records import digest, read_record, write_record
from rich.console import Console
from rich.table import Table

from drivenmorph_jax.cli.terminal import say

# Raise it whenever a case here would give other figures for the same files.
VERSION = 2
PAIRS = ("2mm", "1mm")
_HERE = pathlib.Path(__file__).resolve().parent
_STAGES = (
    "read",
    "affine",
    "prepare",
    "deform",
    "resample",
    "invert",
    "measure",
    "write",
    "replay",
)
_GIB = 2**30

Run = dict[str, Any]
"""What one process took: `wall` s, `peak` bytes, `stages` s, `load` of the machine before it."""


class Case(NamedTuple):
    """Some runs on one pair that belong together."""

    name: str
    settings: dict[str, Any]
    run: Callable[[pathlib.Path], dict[str, Run]]


def main() -> int:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    cases = [case for name in arguments.pairs for case in make_cases(name, arguments)]
    rows: dict[str, Run] = {}
    for place, case in enumerate(cases, start=1):
        key = digest(VERSION, case.settings, threads)
        path = arguments.output / "cache" / f"{case.name.replace(' ', '-')}-{key}.json"
        if not path.is_file():
            say(f"case {place} of {len(cases)}: {case.name}")
            with tempfile.TemporaryDirectory() as folder:
                runs = case.run(pathlib.Path(folder))
            document = {"machine": describe_machine(threads), **case.settings, "runs": runs}
            write_record(path, document)
        rows |= read_record(path)["runs"]
    Console(width=150).print(make_table(rows))
    say("ANTs' affine and SyN are one step: both are under `deform`. `rest` is the start of the")
    say("process with its imports and, of ours, the report.")
    say(describe_machine(threads))
    return 0


def make_cases(pair: str, arguments: argparse.Namespace) -> list[Case]:
    fixed, moving = find_pair(pair)
    files = {"files": [hashlib.sha256(path.read_bytes()).hexdigest() for path in (fixed, moving)]}
    cases = [
        Case(
            f"{pair} refine {count}" if count else f"{pair}",
            {**files, "refine": count, "versions": versions("drivenmorph_jax", "jax")},
            lambda folder, count=count: run_ours(pair, fixed, moving, count, folder),
        )
        for count in arguments.refine
    ]
    if not arguments.skip_ants:
        settings = {**files, "type": "SyN", "versions": versions("antspyx")}
        cases.append(
            Case(f"{pair} ants", settings, lambda folder: run_ants(pair, fixed, moving, folder))
        )
    return cases


def find_pair(pair: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The fixed and the moving file: the first two of the validation subjects, by name."""
    default = _HERE.parents[1] / "shared" / "data"
    data = pathlib.Path(os.environ.get("DRIVENMORPH_DATA", default))
    folder = data / {"2mm": "ixi_2mm", "1mm": "malf_1mm"}[pair] / "val"
    found = sorted(folder.glob("*_t1.nii.gz"))[:2]
    if len(found) < 2:
        sys.exit(f"registration.py: error: no two scans in {folder}: set DRIVENMORPH_DATA")
    return found[0], found[1]


def run_ours(pair: str, fixed, moving, refine: int, folder: pathlib.Path) -> dict[str, Run]:
    """Twice, for the cache that the first leaves is the second's."""
    name = f"{pair}, DrivenMorph" + (f", --refine {refine}" if refine else "")
    command = [sys.executable, "-m", "drivenmorph_jax", "register", fixed, moving]
    environment = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    runs = {}
    for state in ("empty cache", "warm cache"):
        output = folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        run = measure([*command, "--refine", refine, "--output", output], environment)
        summary = json.loads((output / "summary.json").read_text())
        runs[f"{name}, {state}"] = run | {"stages": summary["seconds"]}
    return runs


def run_ants(pair: str, fixed, moving, folder: pathlib.Path) -> dict[str, Run]:
    output = folder / "out"
    run = measure([sys.executable, _HERE / "ants_files.py", fixed, moving, output], {})
    stages = json.loads((output / "seconds.json").read_text())
    return {f"{pair}, ANTs SyN": run | {"stages": stages}}


def measure(command: list[Any], environment: dict[str, str]) -> Run:
    """Seconds of a process from start to end, and its largest resident set."""
    load, start = os.getloadavg()[0], time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], env=os.environ | environment)
    # Of this child alone: `resource.getrusage` knows only the largest of all of them.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"registration.py: error: ended with code {process.returncode}: {process.args}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"wall": wall, "cpu": usage.ru_utime, "peak": usage.ru_maxrss * unit, "load": load}


def make_table(rows: dict[str, Run]) -> Table:
    table = Table(title="from two files to all results in files; seconds")
    for column in ("", "wall", "peak GiB", *_STAGES, "rest"):
        table.add_column(column, justify="right" if column else "left")
    for name, run in rows.items():
        stages = run["stages"]
        table.add_row(
            name,
            f"{run['wall']:.1f}",
            f"{run['peak'] / _GIB:.2f}",
            *(f"{stages[stage]:.1f}" if stage in stages else "" for stage in _STAGES),
            f"{run['wall'] - sum(stages.values()):.1f}",
        )
    return table


def versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time whole registrations, and their memory.")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS, metavar="PAIR")
    parser.add_argument("--refine", type=int, nargs="+", default=(0, 20), metavar="N")
    parser.add_argument("--skip-ants", action="store_true", help="without antspyx")
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    default = pathlib.Path("runs/registration_times")
    parser.add_argument("--output", type=pathlib.Path, default=default)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
