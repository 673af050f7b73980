"""drivenmorph convert: a transform in another tool's format."""

import argparse
from pathlib import Path
from typing import Any

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.cli.transform_options import (
    add_command,
    add_format,
    add_images,
    add_output,
    check_outputs,
    read_chain,
    read_grid,
)

_DESCRIPTION = """\
Write a transform in another format: itk (.nii.gz, .mat, .tfm, .txt), fsl (.nii.gz,
.mat), freesurfer (.nii.gz, .lta), h5 (.h5). An affine written as .nii.gz becomes a
field on the grid of --fixed. FSL's applywarp needs --rel for such a field.
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "convert",
        run,
        help="write a transform for another tool",
        description=_DESCRIPTION,
    )
    parser.add_argument("transform", type=Path, metavar="TRANSFORM")
    add_images(parser)
    add_format(parser)
    add_output(parser, help="transform to write")


def run(options: argparse.Namespace, _: str) -> int:
    from drivenmorph_jax.images import write_transform

    check_outputs([options.output], overwrite=options.overwrite)
    transform = read_chain([options.transform], options)
    write_transform(
        options.output,
        transform,
        format=options.format,
        # A field stays on its own voxels.
        fixed=transform.grid or read_grid(options.fixed),
        moving=read_grid(options.moving),
    )
    say(f"written to {options.output}")
    return 0
