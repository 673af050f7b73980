"""drivenmorph atlas: register an image to a template, and bring the template's maps to it."""

import argparse
from pathlib import Path
from typing import Any

from drivenmorph_jax.cli.method_options import (
    add_method_options,
    check_method_options,
    make_method,
)
from drivenmorph_jax.cli.register import report_lines
from drivenmorph_jax.cli.result_options import add_format_option, add_result_options
from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.progress import silent

_DESCRIPTION = """\
Register a brain image to a template (such as MNI's), and bring what is known of
the template into the image's own space. Written to the output folder, all or
nothing: what `drivenmorph register TEMPLATE IMAGE` writes (warped.nii.gz is the
image on the template's grid, the summary and the report call the template fixed
and the image moving), and

  subject_space/NAME      each of the template's label maps (nearest) and other
                          maps (linear) on the image's own grid, through
                          inverse_warp.nii.gz, by one interpolation

Both images must be brain-extracted (0 outside the brain), or come with a mask of
the brain. The template's maps may lie on other grids than the template itself.
"""
# The pipeline speaks of its own options.
_OPTIONS = {"--fixed-mask": "--template-mask", "--moving-mask": "--mask"}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "atlas",
        help="register to a template, bring its labels to the image",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
    )
    parser.add_argument("template", type=Path, metavar="TEMPLATE", help="image of the template")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image to register to it")
    add_result_options(parser, folder="folder for the results")
    add_format_option(parser)
    parser.add_argument("--mask", type=Path, metavar="FILE", help="mask of the image's brain")
    parser.add_argument(
        "--template-mask", type=Path, metavar="FILE", help="mask of the template's brain"
    )
    parser.add_argument(
        "--template-labels",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="label maps of the template: whole numbers",
    )
    parser.add_argument(
        "--template-maps",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="other maps of the template: tissue probabilities, for instance",
    )
    add_method_options(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace earlier results in the folder, subject_space as a whole",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> int:
    tell = silent if options.quiet else say
    check_method_options(options)
    tell("loading JAX")

    from drivenmorph_jax.pipeline.atlas import register_to_template
    from drivenmorph_jax.pipeline.output_folder import check_output
    from drivenmorph_jax.training.compilation_cache import enable_compilation_cache

    check_output(options.output, overwrite=options.overwrite)
    enable_compilation_cache()
    try:
        summary = register_to_template(
            options.template,
            options.image,
            options.output,
            make_method(options, tell),
            template_mask=options.template_mask,
            mask=options.mask,
            template_labels=options.template_labels,
            template_maps=options.template_maps,
            formats=options.formats,
            overwrite=options.overwrite,
            command=command,
            say=tell,
        )
    except InputError as error:
        raise InputError(_in_our_options(str(error))) from error
    for line in report_lines(summary, options.output):
        tell(line)
    return 0


def _in_our_options(message: str) -> str:
    for theirs, ours in _OPTIONS.items():
        message = message.replace(theirs, ours)
    return message
