"""The command `drivenmorph`.

Only what `--help` needs is imported here: JAX takes seconds to load.
"""

import argparse
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from drivenmorph_jax.errors import InputError

if TYPE_CHECKING:
    from drivenmorph_jax.pipeline import Method

_NAME = "drivenmorph"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 unusable input, 128 + n ended by signal n."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    _show_warnings()
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        return options.run(options, shlex.join([_NAME, *given]))
    except InputError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail("not enough memory: crop the images, or use a machine with more")
    except KeyboardInterrupt:
        return _fail("interrupted, nothing is written", code=128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _register(options: argparse.Namespace, command: str) -> int:
    say = _silent if options.quiet else _say
    if options.method == "demons" and options.checkpoint:
        raise InputError("--method demons has no weights: leave out --checkpoint")
    say("loading JAX and the network" if options.method != "demons" else "loading JAX")

    from drivenmorph_jax.pipeline import register_files
    from drivenmorph_jax.pipeline.output_folder import check_output
    from drivenmorph_jax.training.compilation_cache import enable_compilation_cache

    check_output(options.output, overwrite=options.overwrite)
    enable_compilation_cache()
    summary = register_files(
        options.fixed,
        options.moving,
        options.output,
        _method(options),
        fixed_labels=options.fixed_labels,
        moving_labels=options.moving_labels,
        overwrite=options.overwrite,
        command=command,
        say=say,
    )
    for line in _report(summary, options.output):
        say(line)
    return 0


def _export(options: argparse.Namespace, _: str) -> int:
    from drivenmorph_jax.pipeline.export import export_weights

    export_weights(options.folder, options.output)
    _say(f"written to {options.output}")
    return 0


def _method(options: argparse.Namespace) -> "Method":
    from drivenmorph_jax import pipeline

    if options.method == "demons":
        return pipeline.demons_method()
    if options.checkpoint:
        return pipeline.network_method(pipeline.load_checkpoint(options.checkpoint))
    return pipeline.network_method(pipeline.load_pretrained())


def _report(summary: dict[str, Any], output: Path) -> list[str]:
    deformation = summary["deformation"]
    lines = [
        _three("correlation", summary["similarity"]),
        f"folding {deformation['folding_percent']:.3f} %, NDV {deformation['ndv_percent']:.4f} %, "
        f"largest deformation {deformation['largest_displacement_mm']:.1f} mm",
        f"done in {sum(summary['seconds'].values()):.1f} s: {output}",
    ]
    if "dice" in summary and summary["dice"]["after"] is not None:
        lines.insert(1, _three("Dice", summary["dice"]))
    return lines


def _three(name: str, values: dict[str, Any]) -> str:
    before, affine, after = (values[stage] for stage in ("before", "affine", "after"))
    return f"{name} {before:.3f} before, {affine:.3f} after the affine, {after:.3f} after all"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_NAME,
        description="Deformable registration of brain images.",
        epilog=f"Options of a command: {_NAME} COMMAND --help",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_register(commands)
    _add_export(commands)
    return parser


def _add_register(commands: Any) -> None:
    parser = commands.add_parser(
        "register",
        help="bring a moving image onto a fixed one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_REGISTER,
    )
    parser.add_argument("fixed", type=Path, metavar="FIXED", help="image that stays")
    parser.add_argument("moving", type=Path, metavar="MOVING", help="image that is moved onto it")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the results"
    )
    parser.add_argument(
        "--method",
        choices=("drivenmorph", "demons"),
        default="drivenmorph",
        help="the network (default), or classical diffeomorphic Demons, which needs no weights",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="DIR",
        help="folder of a training run, or of exported weights (default: those in the package)",
    )
    parser.add_argument(
        "--fixed-labels", type=Path, metavar="FILE", help="label map of the fixed image, for Dice"
    )
    parser.add_argument(
        "--moving-labels", type=Path, metavar="FILE", help="label map of the moving image"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace earlier results in the folder"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing unless there is an error")
    parser.set_defaults(run=_register)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a training run's best weights as safetensors, with their config",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder of train.py")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.set_defaults(run=_export)


_REGISTER = """\
Register two brain images (NIfTI or MGH) of any orientation, spacing and shape.

Both must be brain-extracted: 0 outside the brain. They need not be aligned: an
affine is found first. Written to the output folder, all or nothing:

  warped.nii.gz   the moving image on the fixed image's grid, resampled once
  warp.nii.gz     the whole map, affine included: a displacement field that
                  ITK, SimpleITK, ANTs, Slicer and greedy apply
  affine.mat      the affine alone (ITK), for information: warp.nii.gz has it
  figure.png      images, differences, deformation and driving force on one slice
  summary.json    similarity, folding, displacement, seconds, versions, command
  warped_labels.nii.gz   with both label maps: the moved labels (nearest)
"""


class _Parser(argparse.ArgumentParser):
    """Errors on one line, like all others; subcommands' parsers are of this class too."""

    def error(self, message: str) -> NoReturn:
        self.exit(_fail(f"{message} (see {self.prog} --help)"))


def _fail(message: str, *, code: int = 2) -> int:
    print(f"{_NAME}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _say(text: str) -> None:
    print(text, flush=True)


def _silent(_: str) -> None:
    pass


def _end(number: int, _: Any) -> NoReturn:
    """A normal exit, by which the unfinished output is removed."""
    raise SystemExit(128 + number)


def _show_warnings() -> None:
    """The library's own warnings, a line each; other packages' stay as they are."""
    logger = logging.getLogger("drivenmorph_jax")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"{_NAME}: warning: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    # Orbax warns, through absl, that it opens a checkpoint read-only: as it is meant to.
    logging.getLogger("absl").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
