"""drivenmorph export: a training run's weights, in files that last."""

import argparse
from pathlib import Path
from typing import Any

from drivenmorph_jax.cli.terminal import say


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a training run's best weights as safetensors, with their config",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder of train.py")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--iterations",
        type=int,
        nargs="+",
        metavar="K",
        help="of each level, finest first, in place of those of the training",
    )
    parser.add_argument(
        "--correlation-iterations",
        type=int,
        nargs="+",
        metavar="K",
        help="Demons iterations at the end that local correlation drives, finest level first; 0 "
        "leaves them out",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of encoder and attention, in place of that of the training",
    )
    parser.add_argument(
        "--program",
        type=int,
        nargs=3,
        metavar=("D", "H", "W"),
        help="also write the registration of D×H×W voxels as a program that needs JAX alone "
        "(docs/export.md)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, _: str) -> int:
    from drivenmorph_jax.pipeline.export import export_weights

    program = None if options.program is None else tuple(options.program)
    export_weights(
        options.folder,
        options.output,
        iterations=options.iterations,
        correlation_iterations=options.correlation_iterations,
        precision=options.precision,
        program=program,
    )
    say(f"written to {options.output}")
    return 0
