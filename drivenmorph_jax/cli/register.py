"""drivenmorph register: bring a moving image onto a fixed one."""

import argparse
from pathlib import Path
from typing import Any

from drivenmorph_jax.cli.image_options import add_image_options
from drivenmorph_jax.cli.method_options import (
    add_method_options,
    check_method_options,
    make_method,
)
from drivenmorph_jax.cli.result_options import add_format_option, add_result_options
from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.progress import silent

_DESCRIPTION = """\
Register two brain images (NIfTI or MGH) of any orientation, spacing and shape.

  drivenmorph register FIXED.nii.gz MOVING.nii.gz --output OUT

Both must be brain-extracted (0 outside the brain), or come with a mask of the
brain. They need not be aligned: an affine is found first. Written to the output
folder, all or nothing:

  warped.nii.gz           the moving image (within its mask) on the fixed image's
                          grid, resampled once, linearly
  warp.nii.gz             the whole map, affine included: a displacement field
                          that ITK, SimpleITK, ANTs, Slicer and greedy apply
  inverse_warp.nii.gz     its inverse, on the moving image's grid: the same
                          tools bring the fixed image onto the moving one by it
  affine.mat              the affine alone (ITK): warp.nii.gz has it already
  deformable_warp.nii.gz  the rest: a point goes through this one first, then the
                          affine (ANTs: -t deformable_warp.nii.gz -t affine.mat)
  jacobian.nii.gz         local change of volume (determinant) of the whole map
  driving_force.nii.gz    what drove the finest level: a covector, feature^2/mm
  demons_step.nii.gz      the step that the force asked for last, mm
  figure.png              images, differences, deformation and driving force
  summary.json            similarity, regularity, inverse consistency, a pass,
                          warn or fail for each check with its reason, seconds,
                          versions, checksum of the weights, command
  report.html             all of it to look at, in any browser, without a network
  warped_labels.nii.gz    with both label maps: the moved labels (nearest)

Vectors are in LPS, as ITK counts them. After writing, the warp is read back and
applied by other code; if it does not give warped.nii.gz, nothing is kept.
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "register",
        help="bring a moving image onto a fixed one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
    )
    add_image_options(parser)
    add_result_options(parser, folder="folder for the results")
    add_format_option(parser)
    add_method_options(parser)
    parser.add_argument(
        "--fixed-lesion",
        type=Path,
        metavar="FILE",
        help="map on the fixed image's grid: where it is not 0 nothing is compared, and the map "
        "continues smoothly from around it",
    )
    parser.add_argument(
        "--moving-lesion", type=Path, metavar="FILE", help="the same of the moving image"
    )
    parser.add_argument(
        "--initial-affine",
        type=Path,
        metavar="FILE",
        help="affine from the fixed to the moving image, in place of a search (ITK .mat, .tfm, "
        ".txt, FSL .mat, FreeSurfer .lta)",
    )
    parser.add_argument(
        "--deformable-only",
        action="store_true",
        help="write the Jacobian of the deformable part, without the affine",
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
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> int:
    tell = silent if options.quiet else say
    check_method_options(options)
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
        make_method(options, tell),
        fixed_mask=options.fixed_mask,
        moving_mask=options.moving_mask,
        fixed_labels=options.fixed_labels,
        moving_labels=options.moving_labels,
        fixed_lesion=options.fixed_lesion,
        moving_lesion=options.moving_lesion,
        initial_affine=options.initial_affine,
        deformable_only=options.deformable_only,
        formats=options.formats,
        overwrite=options.overwrite,
        command=command,
        say=tell,
    )
    for line in report_lines(summary, options.output):
        tell(line)
    return 0


def report_lines(summary: dict[str, Any], output: Path) -> list[str]:
    """What a terminal shows of a registration, its verdict last."""
    whole, largest = summary["whole_map"], summary["deformation"]["largest_displacement_mm"]
    lines = [
        _likeness(summary),
        f"folding {whole['folding_percent']:.3f} %, NDV {whole['ndv_percent']:.4f} %, "
        f"largest deformation {largest:.1f} mm",
        f"done in {sum(summary['seconds'].values()):.1f} s: {output}",
        *_verdict(summary["quality"]),
    ]
    if "dice" in summary and summary["dice"]["after"] is not None:
        lines.insert(1, _three("Dice", summary["dice"]))
    return lines


def _likeness(summary: dict[str, Any]) -> str:
    """Correlation, or across contrasts, where that says nothing, mutual information."""
    if "mutual_information" not in summary:
        return _three("correlation", summary["similarity"])
    affine, after = (summary["mutual_information"][stage] for stage in ("affine", "after"))
    return f"mutual information {affine:.3f} after the affine, {after:.3f} after all (nats)"


def _verdict(checks: list[dict[str, Any]]) -> list[str]:
    """The worst of the checks, with every reason for it."""
    from drivenmorph_jax.pipeline.quality import worst

    verdict = worst(check["verdict"] for check in checks)
    if verdict == "pass":
        return [f"quality: pass, all {len(checks)} checks"]
    found = [check for check in checks if check["verdict"] == verdict]
    return [f"quality: {verdict}: {_measured(check)}: {check['reason']}" for check in found]


def _measured(check: dict[str, Any]) -> str:
    if check["value"] is None:
        return check["name"]
    return f"{check['name']} {check['value']:.3g} {check['unit']}".strip()


def _three(name: str, values: dict[str, Any]) -> str:
    before, affine, after = (values[stage] for stage in ("before", "affine", "after"))
    return f"{name} {before:.3f} before, {affine:.3f} after the affine, {after:.3f} after all"
