"""drivenmorph register: bring a moving image onto a fixed one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivenmorph_jax.cli.terminal import say, silent
from drivenmorph_jax.errors import InputError

if TYPE_CHECKING:
    from drivenmorph_jax.pipeline import Method

_DESCRIPTION = """\
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


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "register",
        help="bring a moving image onto a fixed one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> int:
    tell = silent if options.quiet else say
    if options.method == "demons" and options.checkpoint:
        raise InputError("--method demons has no weights: leave out --checkpoint")
    tell("loading JAX and the network" if options.method != "demons" else "loading JAX")

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
        say=tell,
    )
    for line in _report(summary, options.output):
        tell(line)
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
