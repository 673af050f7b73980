"""Memory of each device when one volume is split over 1, 2, 4, 8 of them.

python benchmarks/sharding.py [--config configs/ixi_2mm.yaml] [--shape 96 128 96]
                              [--space 1 2 4 8] [--what forward gradient]

From compilation alone (XLA's memory analysis: arguments, temporaries and outputs of one device), so
that sizes can be asked for which would not fit, such as `--shape 320 384 320`. On a CPU as many
devices are simulated as are asked for; on GPUs and TPUs there must be as many. Compilation takes
minutes a line on a few cores. `--override model.iterations=[0,3,4,4]` and the like change the
config.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table
from setting import CONFIGS, Setting, read_setting

from drivenmorph_jax.model import init, register
from drivenmorph_jax.objective.loss import registration_loss
from drivenmorph_jax.spatial.split import SPACE


def main() -> None:
    arguments = parse_arguments()
    jax.config.update("jax_num_cpu_devices", max(arguments.space))
    config = read_setting(arguments.config, arguments.overrides)
    table = Table(title=f"{arguments.config.name}, {tuple(arguments.shape)} voxels, per device")
    for column in ("", "devices", "arguments", "temporaries", "outputs", "sum MiB", "of 1 device"):
        table.add_column(column, justify="right")
    for what in arguments.what:
        whole = None
        for space in arguments.space:
            sizes, seconds = planned(FUNCTIONS[what](config), config, arguments.shape, space)
            total = sum(sizes)
            whole = whole or total
            cells = [f"{size:.1f}" for size in (*sizes, total)]
            print(
                f"{what}, {space} device(s): {cells[-1]} MiB ({seconds:.0f} s to compile)",
                flush=True,
            )
            table.add_row(what, str(space), *cells, f"{total / whole:.3f}")
    Console(width=110).print(table)
    device = jax.devices()[0]
    print(f"planned by jax {jax.__version__} for {device.device_kind}, in float32")


def forward(config: Setting) -> Callable[..., Any]:
    """The displacement of a pair."""
    return lambda params, fixed, moving: register(params, fixed, moving, config.model).displacement


def gradient(config: Setting) -> Callable[..., Any]:
    """The loss of a pair and its gradient by the parameters."""

    def loss(params: Any, fixed: jax.Array, moving: jax.Array) -> jax.Array:
        registration = register(params, fixed, moving, config.model)
        return registration_loss(registration, fixed, moving, config.loss)[0]

    return jax.value_and_grad(loss)


FUNCTIONS = {"forward": forward, "gradient": gradient}


def planned(
    function: Callable[..., Any], config: Setting, shape: list[int], space: int
) -> tuple[tuple[float, float, float], float]:
    """MiB of arguments, temporaries and outputs of one device, and the seconds it took to know."""
    start = time.perf_counter()
    mesh = jax.make_mesh((space,), (SPACE,), (AxisType.Auto,), devices=jax.devices()[:space])
    whole = NamedSharding(mesh, PartitionSpec())
    slab = NamedSharding(mesh, PartitionSpec(None, SPACE))
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
        jax.eval_shape(lambda: init(jax.random.key(0), config.model)),
    )
    image = jax.ShapeDtypeStruct((*shape, 1), jnp.float32, sharding=slab)
    with jax.set_mesh(mesh):
        compiled = jax.jit(function).lower(params, image, image).compile()
    memory = compiled.memory_analysis()
    sizes = (
        memory.argument_size_in_bytes / 2**20,
        memory.temp_size_in_bytes / 2**20,
        memory.output_size_in_bytes / 2**20,
    )
    return sizes, time.perf_counter() - start


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Memory per device of a volume that is split.")
    parser.add_argument("--config", type=pathlib.Path, default=CONFIGS / "ixi_2mm.yaml")
    parser.add_argument(
        "--shape", type=int, nargs=3, default=[96, 128, 96], metavar=("D", "H", "W")
    )
    parser.add_argument("--space", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N")
    parser.add_argument("--what", choices=FUNCTIONS, nargs="+", default=list(FUNCTIONS))
    parser.add_argument("--override", dest="overrides", action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main()
