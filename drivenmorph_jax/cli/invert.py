"""drivenmorph invert: the way back."""

import argparse
from pathlib import Path
from typing import Any

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.cli.transform_options import (
    add_command,
    add_format,
    add_images,
    add_output,
    add_reference,
    check_outputs,
    read_chain,
    read_grid,
)
from drivenmorph_jax.errors import InputError

_DESCRIPTION = """\
Write the inverse of a transform, from the moving to the fixed image. An affine is
inverted exactly. A deformation becomes one field on the grid of --reference, which
should be the moving image; how exact it is at that grid's voxels is reported.
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands, "invert", run, help="write the inverse of a transform", description=_DESCRIPTION
    )
    parser.add_argument("transform", type=Path, metavar="TRANSFORM")
    add_reference(parser, help="image on whose grid the field is to lie")
    add_images(parser)
    add_format(parser)
    add_output(parser, help="transform to write")


def run(options: argparse.Namespace, _: str) -> int:
    import numpy as np

    from drivenmorph_jax.images import invert_transform, write_transform

    check_outputs([options.output], overwrite=options.overwrite)
    transform = read_chain([options.transform], options)
    grid = read_grid(options.reference)
    if transform.matrix is None and grid is None:
        raise InputError("a deformation needs --reference, the moving image, to lie on its grid")
    inverse = invert_transform(transform, grid)
    # The inverse leads the other way: its fixed image is the moving one.
    write_transform(
        options.output,
        inverse.transform,
        format=options.format,
        fixed=grid or read_grid(options.moving),
        moving=read_grid(options.fixed),
    )
    if inverse.residual is not None:
        mean, high, largest = (
            float(value)
            for value in (
                inverse.residual.mean(),
                np.percentile(inverse.residual, 99),
                inverse.residual.max(),
            )
        )
        say(f"off by {mean:.4f} mm (mean), {high:.4f} mm (99 %), {largest:.4f} mm (largest)")
    say(f"written to {options.output}")
    return 0
