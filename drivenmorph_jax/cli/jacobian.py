"""drivenmorph jacobian: how a transform changes volumes."""

import argparse
from pathlib import Path
from typing import Any

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.cli.transform_options import (
    ORDER,
    add_command,
    add_images,
    add_output,
    add_reference,
    check_outputs,
    read_chain,
    read_grid,
)
from drivenmorph_jax.errors import InputError

_DESCRIPTION = f"""\
Write the Jacobian determinant of the whole map, from the fixed to the moving image:
above 1 the moving image's tissue is larger, at 0 and below it folds. Central
differences on the transform's own grid, or on that of --reference.

{ORDER}"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "jacobian",
        run,
        help="write the Jacobian determinant of a transform",
        description=_DESCRIPTION,
    )
    parser.add_argument("transforms", type=Path, nargs="+", metavar="TRANSFORM")
    add_reference(parser, help="image on whose grid to compute it")
    add_images(parser)
    add_output(parser, help="image to write, .nii.gz")


def run(options: argparse.Namespace, _: str) -> int:
    from drivenmorph_jax.images import Volume, save_volume
    from drivenmorph_jax.images.world_jacobian import world_jacobian

    check_outputs([options.output], overwrite=options.overwrite)
    chain = read_chain(options.transforms, options)
    grid = read_grid(options.reference) or chain.grid
    if grid is None:
        raise InputError("an affine needs --reference, the fixed image, to lie on its grid")
    if min(grid.shape) < 2:
        raise InputError(f"a grid of {grid.shape} voxels has no slope: give one of more slices")
    determinant = world_jacobian(chain.displacement(grid), grid.affine)
    save_volume(
        options.output,
        Volume(determinant, grid.affine),
        description="Jacobian determinant, fixed to moving",
    )
    folding = 100 * float((determinant <= 0).mean())
    say(f"from {determinant.min():.3f} to {determinant.max():.3f}, folding {folding:.4f} %")
    say(f"written to {options.output}")
    return 0
