"""drivenmorph batch: many pairs, one after another."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivenmorph_jax.cli.method_options import (
    add_method_options,
    check_method_options,
    make_method,
)
from drivenmorph_jax.cli.result_options import add_format_option, add_result_options
from drivenmorph_jax.cli.terminal import fail, say
from drivenmorph_jax.progress import Say, silent

if TYPE_CHECKING:
    from drivenmorph_jax.pipeline.batch import Outcome

_DESCRIPTION = """\
Register every pair of a CSV file, each as `drivenmorph register` does, into
DIR/NAME. The file has a header and one pair a line, in the columns

  fixed, moving                  images (these two must be there)
  name                           of the results' folder (default MOVING_to_FIXED)
  fixed_mask, moving_mask        masks of the brains
  fixed_labels, moving_labels    label maps, for Dice
  fixed_lesion, moving_lesion    where nothing is to be compared
  initial_affine                 affine in place of a search

Relative paths start at the folder of the CSV file. A pair that cannot be
registered is noted, and the others go on. Written after every pair:

  results.csv    a row a pair: status, verdict, Dice, correlation, folding, error
  index.html     the same to look at, with pictures and links to the reports

The network is compiled once for all pairs (and once more for a finer grid);
Demons once for each size of brain.

A run that was stopped goes on with --resume: it leaves out what is there of the
same files (by path, none changed since), method, weights, settings and version
of this program, and does the rest, and what failed, again.

Exit code: 0 if all pairs were registered, 1 if some were not, 2 for input that
cannot be used at all.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "batch",
        help="register many pairs, listed in a CSV file",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
    )
    parser.add_argument("pairs", type=Path, metavar="PAIRS.csv", help="the pairs")
    add_result_options(parser, folder="folder for the pairs' folders")
    add_format_option(parser)
    add_method_options(parser)
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--resume", action="store_true", help="keep what an earlier run has done")
    earlier.add_argument(
        "--overwrite", action="store_true", help="do all again, over earlier results in the folder"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> int:
    tell, doing = _voices(quiet=options.quiet)
    check_method_options(options)
    tell("loading JAX")

    from drivenmorph_jax.pipeline.batch import INDEX, RESULTS, read_pairs, register_pairs
    from drivenmorph_jax.training.compilation_cache import enable_compilation_cache

    pairs = read_pairs(options.pairs)
    enable_compilation_cache()
    method = make_method(options, doing)
    try:
        outcomes = register_pairs(
            pairs,
            options.output,
            method,
            formats=options.formats,
            resume=options.resume,
            overwrite=options.overwrite,
            command=command,
            say=tell,
            doing=doing,
        )
    except (KeyboardInterrupt, SystemExit) as end:
        # SIGTERM ends by SystemExit, with its code.
        code = end.code if isinstance(end, SystemExit) and isinstance(end.code, int) else 130
        doing("")
        return fail(
            f"interrupted: what was done is in {options.output}, --resume goes on", code=code
        )
    for line in _closing(outcomes):
        tell(line)
    tell(f"table: {options.output / RESULTS}")
    tell(f"page to look at: {options.output / INDEX}")
    failures = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failures:
        return fail(
            f"{len(failures)} of {len(outcomes)} pairs failed: see {options.output / RESULTS}, and "
            "do them again with --resume",
            code=1,
        )
    return 0


def _voices(*, quiet: bool) -> tuple[Say, Say]:
    """For lines that stay, and for what is being done just now: a terminal's last line."""
    if quiet:
        return silent, silent
    if not sys.stdout.isatty():
        return say, silent
    return _over, _now


def _over(text: str) -> None:
    _now("")
    say(text)


def _now(text: str) -> None:
    width = shutil.get_terminal_size().columns - 1
    print(f"\r\x1b[2K{text[:width]}", end="", flush=True)


def _closing(outcomes: Sequence["Outcome"]) -> list[str]:
    """A count of verdicts, and a line for each failure."""
    verdicts = [outcome.quality for outcome in outcomes]
    counts = [f"{n} {v}" for v in ("pass", "warn", "fail") if (n := verdicts.count(v))]
    there = [outcome for outcome in outcomes if outcome.status == "ok"]
    quality = f", quality: {', '.join(counts)}" if counts else ""
    return [
        f"{len(there)} of {len(outcomes)} pairs registered{quality}",
        *(f"failed: {o.pair.name}: {o.error}" for o in outcomes if o.error is not None),
    ]
