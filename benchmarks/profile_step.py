"""Where the time of a training step goes: its operations as the profiler saw them, by source.

    python benchmarks/profile_step.py [--config configs/ixi_2mm.yaml] [--shape 80 96 80]
                                      [--steps 3] [--top 15] [--threads N]

Every operation of the compiled program carries the line that it comes from; its time is counted
for the innermost function of this library there. The backward pass is told by the name that JAX
gives a transposed operation; forward is all else, augmentation and optimiser too. Shares are of the
sum of all operations, which exceeds the step's time where several run at once.
"""

import argparse
import collections
import pathlib
import re
import tempfile
import time
from typing import Any, NamedTuple

import jax
from machine import describe_machine, hold_to_threads
from setting import CONFIGS, make_training, read_setting
from timing import markdown

from drivenmorph_jax.cli.terminal import say

LIBRARY = "drivenmorph_jax/"
# They hold other operations, which are counted themselves.
CONTAINERS = {"while", "conditional", "call", "async-start", "async-done"}


class Origin(NamedTuple):
    """Where an operation comes from: module and function of the library, and which pass."""

    module: str
    function: str
    backward: bool


def main() -> None:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    setting = read_setting(arguments.config, arguments.overrides)
    made, state, batch = make_training(setting, arguments.shape)
    compiled = made.step.lower(state, batch).compile()
    state, _ = jax.block_until_ready(compiled(state, batch))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            start = time.perf_counter()
            for _ in range(arguments.steps):
                state, _ = jax.block_until_ready(compiled(state, batch))
            seconds = (time.perf_counter() - start) / arguments.steps
        (trace,) = pathlib.Path(folder).rglob("*.xplane.pb")
        spent = operation_seconds(jax.profiler.ProfileData.from_file(str(trace)))
    by_origin = group(spent, origins(compiled.as_text()))
    say(make_table(by_origin, arguments.steps, arguments.top))
    say(f"{seconds:.2f} s a step while it was traced; {describe_machine(threads)}")


def operation_seconds(profile: Any) -> dict[str, float]:
    """Seconds by the name of the operation, all its runs together."""
    spent: dict[str, float] = collections.Counter()
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                if "hlo_op" in stats and not event.name.startswith("end: "):
                    spent[stats["hlo_op"]] += event.duration_ns / 1e9
    return spent


def origins(program: str) -> dict[str, Origin]:
    """Of every operation of a compiled program that does work itself, where it comes from."""
    frames = innermost_frames(program)
    found = {}
    for line in program.splitlines():
        match = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = .*? ([\w\-]+)\(", line)
        if match is None or match[2] in CONTAINERS:
            continue
        frame = re.search(r"stack_frame_id=(\d+)", line)
        module, function = frames.get(int(frame[1]), ("", "")) if frame else ("", "")
        # The operation's name, not the line: there is an operation that is called transpose, too.
        name = re.search(r'op_name="([^"]*)"', line)
        backward = name is not None and "transpose(" in name[1]
        found[match[1]] = Origin(module or "(XLA)", function, backward)
    return found


def innermost_frames(program: str) -> dict[int, tuple[str, str]]:
    """For every stack of the program's header, the innermost module and function of the library."""
    tables: dict[str, dict[int, str]] = {}
    for name in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
        block = re.search(rf"^{name}\n((?:\d+ .*\n)+)", program, re.MULTILINE)
        rows = block[1].splitlines() if block else []
        tables[name] = {int(row.split(" ", 1)[0]): row.split(" ", 1)[1] for row in rows}

    def number(row: str, key: str) -> int:
        match = re.search(rf"\b{key}=(\d+)", row)
        return int(match[1]) if match else 0

    def look(stack: int) -> tuple[str, str]:
        while stack in tables["StackFrames"]:
            row = tables["StackFrames"][stack]
            place = tables["FileLocations"].get(number(row, "file_location_id"), "")
            file = tables["FileNames"].get(number(place, "file_name_id"), "").strip('"')
            if LIBRARY in file:
                function = tables["FunctionNames"].get(number(place, "function_name_id"), "")
                module = file.rsplit(LIBRARY, 1)[1].removesuffix(".py")
                return module, function.strip('"').split(".<locals>")[0]
            # Written one too high, so that 1 is none.
            stack = number(row, "parent_frame_id") - 1
        return "", ""

    return {stack: look(stack) for stack in tables["StackFrames"]}


def group(spent: dict[str, float], known: dict[str, Origin]) -> dict[Origin, float]:
    result: dict[Origin, float] = collections.Counter()
    for operation, seconds in spent.items():
        if operation in known:
            result[known[operation]] += seconds
    return result


def make_table(by_origin: dict[Origin, float], steps: int, top: int) -> str:
    """The dearest functions, both passes in a row, then the rest."""
    total = sum(by_origin.values()) or 1.0
    functions: dict[tuple[str, str], list[float]] = {}
    for origin, seconds in by_origin.items():
        passes = functions.setdefault((origin.module, origin.function), [0.0, 0.0])
        passes[origin.backward] += seconds / steps
    ordered = sorted(functions.items(), key=lambda item: -sum(item[1]))
    shown = [(f"`{module}` {function}".strip(), spent) for (module, function), spent in ordered]
    rest = [sum(spent[n] for _, spent in shown[top:]) for n in range(2)]
    rows = [
        [name, f"{spent[0]:.3f}", f"{spent[1]:.3f}", f"{100 * sum(spent) * steps / total:.1f} %"]
        for name, spent in [*shown[:top], ("the rest", rest)]
    ]
    return markdown(("where", "forward, s", "backward, s", "share"), rows)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Say where a training step's time goes.")
    parser.add_argument("--config", type=pathlib.Path, default=CONFIGS / "ixi_2mm.yaml")
    parser.add_argument("--override", dest="overrides", action="append", default=[])
    parser.add_argument("--shape", type=int, nargs=3, default=(80, 96, 80))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--top", type=int, default=15)
    parser.add_argument("--threads", type=int, help="cores to use; default: all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
