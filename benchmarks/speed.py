"""Seconds and memory of forward pass and training step, and of the convolution they stand on.

python benchmarks/speed.py [--config configs/ixi_2mm.yaml] [--shape 80 96 80] [--repeats 5]
                           [--plan-shape 160 192 160] [--skip-itk]

On a procedural phantom, so no data is needed. Compile times are of a first compilation: no
persistent cache is used. `--plan-shape` asks XLA for the memory of a training step at a larger size
without running it. SimpleITK's Demons registers the same pair on the same cores.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from machine import describe_machine, hold_to_threads
from rich.console import Console
from rich.table import Table
from setting import Setting, read_setting

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.model import init, register
from drivenmorph_jax.objective.loss import registration_loss
from drivenmorph_jax.spatial.convolution import convolve


def main() -> None:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    config = read_setting(arguments.config, arguments.overrides)
    pair = phantom_pair(0, tuple(arguments.shape))
    fixed, moving = (jnp.asarray(x)[..., None] for x in (pair.fixed, pair.moving))
    params = init(jax.random.key(0), config.model)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))

    table = Table(title=f"{arguments.config.name}: {count:,} parameters, {fixed.shape[:3]} voxels")
    for column in ("", "compile s", "run s (median)", "temporaries GiB"):
        table.add_column(column, justify="right" if column else "left")
    forward = measure(lambda p, f, m: register(p, f, m, config.model).displacement)
    seconds = forward(table, "forward pass", (params, fixed, moving), arguments.repeats)
    step = jax.value_and_grad(lambda p, f, m: loss(p, f, m, config))
    measure(step)(table, "loss and gradient", (params, fixed, moving), arguments.repeats)
    size = tuple(arguments.plan_shape)
    image = jax.ShapeDtypeStruct((*size, 1), jnp.float32)
    table.add_row(f"  the same, planned for {size}", "", "", planned_memory(step, params, image))
    for name, operation in {"native": native, "ours": convolve}.items():
        image = jax.random.normal(jax.random.key(1), (1, *arguments.shape, 16))
        kernel = jax.random.normal(jax.random.key(2), (3, 3, 3, 16, 16))
        both = jax.grad(lambda x, k, op=operation: (op(x, k) ** 2).sum(), argnums=(0, 1))
        name = f"convolution 3³ 16→16, forward + backward, {name}"
        measure(both)(table, name, (image, kernel), arguments.repeats)
    if not arguments.skip_itk:
        add_itk(table, pair, seconds, arguments.repeats)
    Console(width=110).print(table)
    print(describe_machine(threads))


def loss(params: Any, fixed: jax.Array, moving: jax.Array, config: Setting) -> jax.Array:
    registration = register(params, fixed, moving, config.model)
    return registration_loss(registration, fixed, moving, config.loss)[0]


def native(image: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's own 3-D convolution."""
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return jax.lax.conv_general_dilated(image, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers)


def measure(function: Callable[..., Any]) -> Callable[..., float]:
    """A row of the table for a function: compile it, run it, report the median."""

    def add_row(table: Table, name: str, arguments: tuple[Any, ...], repeats: int) -> float:
        start = time.perf_counter()
        compiled = jax.jit(function).lower(*arguments).compile()
        compile_seconds = time.perf_counter() - start
        jax.block_until_ready(compiled(*arguments))
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            jax.block_until_ready(compiled(*arguments))
            seconds.append(time.perf_counter() - start)
        median = float(np.median(seconds))
        memory = temporaries(compiled)
        table.add_row(name, f"{compile_seconds:.1f}", f"{median:.2f}", f"{memory:.2f}")
        return median

    return add_row


def planned_memory(step: Callable[..., Any], params: Any, image: jax.ShapeDtypeStruct) -> str:
    compiled = jax.jit(step).lower(params, image, image).compile()
    return f"{temporaries(compiled):.2f}"


def temporaries(compiled: Any) -> float:
    """GiB that XLA plans beside arguments and results."""
    return compiled.memory_analysis().temp_size_in_bytes / 2**30


def add_itk(table: Table, pair: Any, ours: float, repeats: int) -> None:
    try:
        import itk_demons
    except ImportError as error:
        say(f"without SimpleITK's Demons: {error}")
        return
    for variant in itk_demons.VARIANTS:
        spent = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            itk_demons.register(variant, pair.fixed, pair.moving, (2.0, 2.0, 2.0))
            spent.append(time.perf_counter() - start)
        seconds = float(np.median(spent[1:]))
        name = f"{variant} (forward pass: {ours / seconds:.2f} of its time)"
        table.add_row(name, "", f"{seconds:.2f}", "")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the network and its convolution.")
    default = pathlib.Path(__file__).resolve().parents[1] / "configs" / "ixi_2mm.yaml"
    parser.add_argument("--config", type=pathlib.Path, default=default)
    parser.add_argument("--override", dest="overrides", action="append", default=[])
    parser.add_argument("--shape", type=int, nargs=3, default=(80, 96, 80))
    parser.add_argument("--plan-shape", type=int, nargs=3, default=(160, 192, 160))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="cores to use; default: all")
    parser.add_argument("--skip-itk", action="store_true", help="without SimpleITK's Demons")
    return parser.parse_args()


if __name__ == "__main__":
    main()
