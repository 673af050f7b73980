"""drivenmorph compose: a chain of transforms as one."""

import argparse
from pathlib import Path
from typing import Any

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.cli.transform_options import (
    ORDER,
    add_command,
    add_format,
    add_images,
    add_output,
    add_reference,
    check_outputs,
    read_chain,
    read_grid,
)

_DESCRIPTION = f"""\
Write a chain of transforms as one: affines as an affine (.mat, .tfm, .txt, .lta),
else as one displacement field on the grid of --reference (by default that of the
first, where that is a field), or as they are in an .h5 file.

{ORDER}"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "compose",
        run,
        help="write a chain of transforms as one",
        description=_DESCRIPTION,
    )
    parser.add_argument("transforms", type=Path, nargs="+", metavar="TRANSFORM")
    add_reference(parser, help="image on whose grid the field is to lie")
    add_images(parser)
    add_format(parser)
    add_output(parser, help="transform to write")


def run(options: argparse.Namespace, _: str) -> int:
    from drivenmorph_jax.images import write_transform

    check_outputs([options.output], overwrite=options.overwrite)
    chain = read_chain(options.transforms, options)
    fixed = read_grid(options.reference) or chain.grid or read_grid(options.fixed)
    write_transform(
        options.output,
        chain,
        format=options.format,
        fixed=fixed,
        moving=read_grid(options.moving),
    )
    say(f"written to {options.output}")
    return 0
