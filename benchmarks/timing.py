"""Seconds and bytes of compiled programs, and tables of them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

# Seconds on the wall, or those that the cores spend on this process, which other work on the
# machine hardly changes. With one thread, on an idle machine, the two are the same.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def best_seconds(run: Callable[[], Any], repeats: int, clock: str = "wall") -> float:
    """The least of some runs after a first one: what else the machine does only adds to it."""
    now = CLOCKS[clock]
    jax.block_until_ready(run())
    seconds = []
    for _ in range(repeats):
        start = now()
        jax.block_until_ready(run())
        seconds.append(now() - start)
    return min(seconds)


def planned_gib(compiled: Any) -> float:
    """GiB that XLA plans on a device: arguments, results and temporaries, donated ones once."""
    plan = compiled.memory_analysis()
    total = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return (total - plan.alias_size_in_bytes) / 2**30


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as the documentation holds it, its first column to the left."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
