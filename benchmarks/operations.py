"""Each hot operation against its best alternative, at the shapes that the network meets.

    python benchmarks/operations.py [--shape 80 96 80] [--only convolution warp …] [--repeats 3]
                                    [--torch-python PATH] [--threads N] [--clock wall|cpu]

Every figure is the least of some runs on the same cores; on a machine that has other work, give
`--threads 1 --clock cpu`, which counts the seconds that the core spends on this process. "forward"
is the operation alone, "gradient" with the derivatives by all that is real in its input. PyTorch
runs in a process of its own, by the interpreter that --torch-python names. What is not installed is
left out with a line.
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
from machine import describe_machine, hold_to_threads
from operation_cases import OPERATIONS, Operation, make_operations
from timing import CLOCKS, best_seconds, markdown

from drivenmorph_jax.cli.terminal import say


def main() -> None:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    torch = torch_seconds(arguments, threads)
    rows = []
    for operation in make_operations(tuple(arguments.shape), arguments.only):
        for kind in ("forward", "gradient"):
            rows += measure(operation, kind, torch, arguments.repeats, arguments.clock)
    columns = ("operation", "ours, s", "alternative", "s", "alternative / ours")
    say("\n" + markdown(columns, rows))
    say(f"{arguments.clock} seconds; {describe_machine(threads)}")


def measure(
    operation: Operation, kind: str, torch: dict[str, float], repeats: int, clock: str
) -> list[Any]:
    """A row for each alternative."""
    prepare = (lambda f: f) if kind == "forward" else functools.partial(gradient, operation.arrays)

    def seconds(function: Callable[..., Any]) -> float:
        compiled = jax.jit(prepare(function)).lower(*operation.arrays).compile()
        return best_seconds(lambda: compiled(*operation.arrays), repeats, clock)

    ours = seconds(operation.ours)
    found = {name: seconds(other) for name, other in operation.others.items()}
    if kind == "forward":
        found |= {
            name: best_seconds(run, repeats, clock) for name, run in operation.outside.items()
        }
    key = f"{operation.name}, {kind}"
    if key in torch:
        found["PyTorch"] = torch[key]
    rows = []
    for name, other in found.items():
        rows.append([key, f"{ours:.3g}", name, f"{other:.3g}", f"{other / ours:.2f}"])
        say("  ".join(rows[-1]))
    return rows


def gradient(arrays: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    def squared(*inputs: jax.Array) -> jax.Array:
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(function(*inputs)))

    return jax.value_and_grad(squared, argnums=tuple(range(len(arrays))))


def torch_seconds(arguments: argparse.Namespace, threads: int) -> dict[str, float]:
    """What PyTorch takes for the operations by their names; nothing where it is not installed."""
    script = pathlib.Path(__file__).with_name("torch_operations.py")
    command = [arguments.torch_python, script, *arguments.shape, arguments.repeats, threads]
    command += [arguments.clock, jax.default_backend(), *arguments.only]
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        say(f"without PyTorch ({arguments.torch_python}: {told.strip().splitlines()[-1]})")
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time operations against their alternatives.")
    parser.add_argument("--shape", type=int, nargs=3, default=(80, 96, 80))
    parser.add_argument("--only", nargs="+", choices=OPERATIONS, default=OPERATIONS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--threads", type=int, help="cores to use; default: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
