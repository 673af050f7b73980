"""drivenmorph explain: what the driving force of a registration explains."""

import argparse
from typing import Any

from drivenmorph_jax.cli.image_options import add_image_options
from drivenmorph_jax.cli.method_options import (
    add_method_options,
    check_method_options,
    make_method,
)
from drivenmorph_jax.cli.result_options import add_result_options
from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.progress import silent

_DESCRIPTION = """\
Register two brain images, as `drivenmorph register --fast` does, and ask what
their driving force explains. Written to the output folder, all or nothing:

  explain.txt    in plain words: what holds by construction, what was measured
  explain.json   all figures
  explain.png    force against motion at each level; the difference before and
                 after, by the size of the force; what happens where the force
                 is taken away (in balls of three sizes at two places: six
                 further registrations)
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="what the driving force of a registration explains",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
    )
    add_image_options(parser)
    add_result_options(parser, folder="folder for the results")
    # A refinement moves the map by no force.
    add_method_options(parser, refine=False)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace earlier results in the folder"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, command: str) -> int:
    tell = silent if options.quiet else say
    check_method_options(options)
    tell("loading JAX")

    from drivenmorph_jax.pipeline.explanation import explain_files
    from drivenmorph_jax.pipeline.output_folder import check_output
    from drivenmorph_jax.training.compilation_cache import enable_compilation_cache

    check_output(options.output, overwrite=options.overwrite)
    enable_compilation_cache()
    text = explain_files(
        options.fixed,
        options.moving,
        options.output,
        make_method(options, tell),
        fixed_mask=options.fixed_mask,
        moving_mask=options.moving_mask,
        overwrite=options.overwrite,
        command=command,
        say=tell,
    )
    tell(f"\n{text}\nwritten to {options.output}")
    return 0
