"""Step time against volume size, level count and number of devices.

    python benchmarks/scaling.py sizes [--shapes 32,32,32 48,56,48 64,72,64] [--levels 2 3 4]
    python benchmarks/scaling.py devices [--counts 1 2 4 8] [--backends pmap mesh]

Both: [--config configs/ixi_2mm.yaml] [--override section.key=value] [--repeats 3] [--threads N]
[--clock wall|cpu]

`sizes` times whole training steps and asks XLA what memory it plans. `devices` starts a process for
each number of devices, and shares out the same 8 pairs (strong scaling), then one pair a device
(weak). On a machine without accelerators the devices are XLA's CPU devices, which share its
cores: the figures then show what dividing costs, and no speed-up beyond the number of cores.
`--clock cpu` counts the seconds that the cores spend on a step, for a machine that has other work.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import jax
from machine import describe_machine, hold_to_threads
from setting import CONFIGS, Setting, make_training, read_setting
from timing import CLOCKS, markdown, planned_gib

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.training.flops import product_flops


def main() -> None:
    arguments = parse_arguments()
    if arguments.what == "worker":
        print(json.dumps(run_worker(arguments)))
        return
    threads = hold_to_threads(arguments.threads)
    if arguments.what == "sizes":
        measure_sizes(arguments)
    else:
        measure_devices(arguments)
        say(f"\nThe devices of a CPU share its {threads} core(s).")
    say(f"{arguments.clock} seconds; {describe_machine(threads)}")


def measure_sizes(arguments: argparse.Namespace) -> None:
    setting = read_setting(arguments.config, arguments.overrides)
    most = setting.model.levels
    if not all(2 <= levels <= most for levels in arguments.levels):
        sys.exit(f"scaling.py: error: --levels: the config has {most}, ask for 2 to {most}")
    rows = []
    for levels in arguments.levels:
        model = truncated(setting.model, levels)
        for shape in arguments.shapes:
            found = time_step(arguments, setting._replace(model=model), shape)
            row = [
                "×".join(map(str, shape)),
                str(levels),
                f"{found['compile']:.0f}",
                f"{found['seconds']:.3g}",
                f"{found['gib']:.2f}",
                f"{found['flops'] / 1e9:.3g}",
                f"{found['flops'] / found['seconds'] / 1e9:.3g}",
            ]
            say("  ".join(row))
            rows.append(row)
    columns = ("voxels", "levels", "compile s", "step s", "planned GiB", "GFLOP", "GFLOP/s")
    say("\n" + markdown(columns, rows))


def truncated(model: Any, levels: int) -> Any:
    """The model with its coarsest levels left out."""
    return dataclasses.replace(
        model,
        channels=model.channels[: levels - 1],
        iterations=model.iterations[:levels],
        cross_attention=tuple(n for n in model.cross_attention if n < levels),
        self_attention=tuple(n for n in model.self_attention if n < levels),
    )


def time_step(
    arguments: argparse.Namespace,
    setting: Setting,
    shape: Any,
    batch: int = 1,
    backend: Any = "single",
) -> dict[str, float]:
    """Of a training step: seconds to compile and to run (least), GiB a device, FLOPs of all."""
    made, state, images = make_training(setting, shape, batch=batch, backend=backend)
    start = time.perf_counter()
    compiled = made.step.lower(state, images).compile()
    compile_seconds = time.perf_counter() - start
    platform = jax.local_devices()[0].platform
    flops = product_flops(jax.make_jaxpr(made.step)(state, images).jaxpr, platform)
    seconds = []
    now = CLOCKS[arguments.clock]
    for _ in range(arguments.repeats + 1):
        start = now()
        state, metrics = made.step(state, images)
        jax.block_until_ready((state.params, metrics))
        seconds.append(now() - start)
    return {
        "compile": compile_seconds,
        "seconds": min(seconds[1:]),
        "gib": planned_gib(compiled),
        "flops": flops,
    }


def measure_devices(arguments: argparse.Namespace) -> None:
    rows = []
    for backend in arguments.backends:
        base: dict[str, float] = {}
        for count in arguments.counts:
            strong = in_process(arguments, backend, count, arguments.pairs)
            # With as many devices as pairs both are the same run.
            same = count == arguments.pairs
            weak = strong if same else in_process(arguments, backend, count, count)
            base = base or {"strong": strong["seconds"], "weak": weak["seconds"]}
            row = [
                backend,
                str(count),
                f"{strong['seconds']:.3g}",
                f"{base['strong'] / strong['seconds']:.2f}",
                f"{weak['seconds']:.3g}",
                f"{base['weak'] / weak['seconds']:.2f}",
                f"{strong['gib']:.3f}",
            ]
            say("  ".join(row))
            rows.append(row)
    columns = (
        "backend",
        "devices",
        f"{arguments.pairs} pairs, s",
        "speed-up",
        "1 pair a device, s",
        "efficiency",
        "GiB a device",
    )
    say("\n" + markdown(columns, rows))


def in_process(arguments: argparse.Namespace, backend: str, count: int, batch: int) -> Any:
    """A step on so many devices, in a process that has no others."""
    command = [sys.executable, __file__, "worker", "--backends", backend, "--counts", str(count)]
    command += ["--pairs", str(batch), "--config", str(arguments.config)]
    command += ["--shapes", ",".join(map(str, arguments.device_shape))]
    command += ["--repeats", str(arguments.repeats), "--clock", arguments.clock]
    for override in arguments.overrides:
        command += ["--override", override]
    given = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    visible = ",".join(given.split(",")[:count])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": visible},
    )
    if done.returncode:
        sys.exit(f"scaling.py: error: {backend} on {count} devices: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_worker(arguments: argparse.Namespace) -> dict[str, float]:
    (count,), (backend,), (shape,) = arguments.counts, arguments.backends, arguments.shapes
    jax.config.update("jax_num_cpu_devices", count)
    if len(jax.devices()) != count:
        sys.exit(f"there are {len(jax.devices())} devices, not {count}")
    setting = read_setting(arguments.config, arguments.overrides)
    return time_step(arguments, setting, shape, arguments.pairs, backend)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time training steps of many sizes.")
    parser.add_argument("what", choices=("sizes", "devices", "worker"))
    parser.add_argument("--config", type=pathlib.Path, default=CONFIGS / "ixi_2mm.yaml")
    parser.add_argument("--override", dest="overrides", action="append", default=[])
    shapes = [(32, 32, 32), (48, 56, 48), (64, 72, 64)]
    parser.add_argument("--shapes", type=as_shape, nargs="+", default=shapes, metavar="D,H,W")
    parser.add_argument("--levels", type=int, nargs="+", default=(2, 3, 4))
    parser.add_argument("--counts", type=int, nargs="+", default=(1, 2, 4, 8))
    parser.add_argument("--backends", nargs="+", default=("pmap", "mesh"))
    parser.add_argument("--pairs", type=int, default=8, help="of a step, for strong scaling")
    parser.add_argument("--device-shape", type=as_shape, default=(32, 32, 32), metavar="D,H,W")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--threads", type=int, help="cores to use; default: all")
    return parser.parse_args()


def as_shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    main()
