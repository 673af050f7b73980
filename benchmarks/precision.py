"""The loss of a training in bfloat16 against that of the same training in float32.

python benchmarks/precision.py [--config configs/ixi_2mm.yaml] [--steps 200]
                               [--output runs/precision] [section.key=value …]

The same seed, pairs and augmentation; what differs is `model.precision`. Each run has a folder for
its settings under --output and goes on from its last checkpoint, so that the command can be given
again after an interruption. Printed are means of the loss over the last 20 steps.
"""

import argparse
import json
import pathlib
import statistics
import sys

from machine import describe_machine, hold_to_threads
from records import digest
from rich.console import Console
from rich.table import Table

from drivenmorph_jax.config import load_config
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.training.experiment import train
from drivenmorph_jax.training.journal import TrainingError

PRECISIONS = ("float32", "bfloat16")
WINDOW = 20


def main() -> int:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        losses = {name: run(name, arguments) for name in PRECISIONS}
    except (InputError, TrainingError) as error:
        print(f"precision.py: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    table = Table(title=f"{arguments.config.name}: loss, mean over {WINDOW} steps")
    for column in ("steps", *PRECISIONS, "ratio"):
        table.add_column(column, justify="right")
    for step in marks(arguments.steps):
        first, second = (mean_until(losses[name], step) for name in PRECISIONS)
        table.add_row(str(step), f"{first:.5f}", f"{second:.5f}", f"{second / first:.4f}")
    Console(width=100).print(table)
    print(describe_machine(threads))
    return 0


def run(precision: str, arguments: argparse.Namespace) -> dict[int, float]:
    """Train, or read what an earlier call has trained; the loss of every step."""
    settings = {
        "model.precision": precision,
        "training.steps": arguments.steps,
        "training.log_every": 1,
        "training.evaluate_every": 0,
        "training.tensorboard": "false",
    }
    overrides = [f"{key}={value}" for key, value in settings.items()]
    config = load_config(arguments.config, [*overrides, *arguments.overrides])
    settings_key = digest(1, arguments.steps, arguments.overrides)
    folder = arguments.output / f"{arguments.config.stem}-{settings_key}" / precision
    outcome = train(config, folder, resume=True)
    if outcome.signal_number is not None:
        raise SystemExit(128 + outcome.signal_number)
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def marks(steps: int) -> list[int]:
    """Four steps, evenly apart, the last one the end."""
    return sorted({max(steps * quarter // 4, 1) for quarter in (1, 2, 3, 4)})


def mean_until(losses: dict[int, float], step: int) -> float:
    """Mean of the last losses up to a step."""
    return statistics.fmean(losses[s] for s in range(max(step - WINDOW, 0) + 1, step + 1))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Loss of a training in bfloat16 and in float32.")
    default = pathlib.Path(__file__).resolve().parents[1] / "configs" / "ixi_2mm.yaml"
    parser.add_argument("--config", type=pathlib.Path, default=default)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/precision"))
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(main())
