"""What each part of the method is worth: the full model and five without a part, trained alike.

    python benchmarks/ablations.py [--config configs/ixi_2mm.yaml] [--steps 600] [--seed 0]
                                   [--only NAME …] [--override section.key=value …]

Every variant is the same config but for one change, with the same budget, pairs and seed. Each has
a run folder in RUNS like train.py's, and tables of its pairs beside that, so the script continues
where it was stopped. The weights of the last step are scored, on the held-out training subjects and
on the validation subjects. Written to OUTPUT: a record of every variant that is done, and a table
of them.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import jax
from machine import describe_machine, hold_to_threads
from records import RESULTS, digest, write_record

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.config import load_config
from drivenmorph_jax.data import EvaluationData, load_training, load_validation
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation import learned_method
from drivenmorph_jax.evaluation.study import run_study, summarise
from drivenmorph_jax.training.checkpoint import load_parameters
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.training.experiment import Config, train
from drivenmorph_jax.training.journal import TrainingError
from drivenmorph_jax.writing import write_atomically

VARIANTS = {
    "full": ("all of it", []),
    "no_cross_attention": ("no cross-attention", ["model.cross_attention=[]"]),
    "no_self_attention": ("no self-attention", ["model.self_attention=[]"]),
    "convolution": ("convolutions for the Demons layer", ["model.head=convolution"]),
    "no_force_supervision": ("no supervision of the force", ["loss.force_weight=0.0"]),
    "additive": ("additive update", ["model.update=additive"]),
}
_SCORES = ("dice", "folding_percent", "ndv_percent", "seconds")
_NOTHING = {"mean": float("nan")}

Summary = dict[str, Any]


def main() -> int:
    arguments = parse_arguments()
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    budget = f"{arguments.config.stem}-{arguments.steps}-seed{arguments.seed}"
    if arguments.overrides:
        budget += f"-{digest(0, arguments.overrides)}"
    runs, folder = arguments.runs / budget, arguments.output / budget
    try:
        configs = {name: config_of(name, arguments) for name in VARIANTS}
        for name in arguments.only:
            found = run_variant(name, configs[name], runs / name, threads)
            if isinstance(found, int):
                say(f"stopped by a signal while training {name}: run it again to continue")
                return 128 + found
            found["overrides"] = arguments.overrides
            write_record(folder / f"{name}.json", found)
    except (InputError, TrainingError) as error:
        print(f"ablations.py: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    text = make_table(read_summaries(folder))
    print(f"\n{text}")
    write_atomically(folder / "table.md", lambda path: path.write_text(text + "\n"))
    return 0


def config_of(name: str, arguments: argparse.Namespace) -> Config:
    budget = [f"training.steps={arguments.steps}", f"training.seed={arguments.seed}"]
    return load_config(arguments.config, [*arguments.overrides, *budget, *VARIANTS[name][1]])


def run_variant(name: str, config: Config, run: pathlib.Path, threads: int) -> Summary | int:
    """Train and score one variant in its run folder, as far as that is still to do.

    Returns:
      Its record, or the number of the signal that stopped its training.
    """
    if last_step(run) < config.training.steps:
        say(f"{name}: training")
        outcome = train(config, run, resume=True)
        if outcome.signal_number is not None:
            return outcome.signal_number
    weights = load_parameters(run, "latest")
    method = learned_method(weights.params, config.model)
    _, held_out = load_training(config.data, progress=say)
    parts: dict[str, EvaluationData] = {
        "held_out": held_out,
        "validation": load_validation(config.data, progress=say),
    }
    document: Summary = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(weights.params)),
        "steps": weights.step,
        "seed": config.training.seed,
        "training_seconds": training_seconds(run),
        "machine": describe_machine(threads),
    }
    for part, data in parts.items():
        rows = run_study(method, data, run / f"{part}.csv", progress=say)
        document[part] = summarise(rows) | {"pairs": len(rows)}
    return document


def last_step(run: pathlib.Path) -> int:
    """Of the run's checkpoints; 0 where there is none."""
    steps = [path.name for path in (run / "checkpoints").glob("[0-9]*") if path.name.isdigit()]
    return max(map(int, steps), default=0)


def training_seconds(run: pathlib.Path) -> float:
    """That the run has taken, by its own log, over all its starts."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return max(record.get("seconds", 0.0) for record in records)


def read_summaries(folder: pathlib.Path) -> dict[str, Summary]:
    """Those of the variants that are done, in the order of VARIANTS."""
    paths = {name: folder / f"{name}.json" for name in VARIANTS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def make_table(summaries: dict[str, Summary]) -> str:
    """Markdown: a line for each variant, and its Dice less that of the full model."""
    lines = [
        "| variant | Dice, held-out training subjects | Dice, validation | less the full model's "
        "| folding % | NDV % | parameters | s / pair | s to train |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    full = summaries.get("full")
    for name, found in summaries.items():
        score = {key: found["validation"][key] for key in _SCORES}
        held = found["held_out"].get("dice", _NOTHING)
        less = score["dice"]["mean"] - full["validation"]["dice"]["mean"] if full else float("nan")
        lines.append(
            f"| {VARIANTS[name][0]} | {held['mean']:.4f} "
            f"| {score['dice']['mean']:.4f} ± {score['dice']['std']:.4f} | {less:+.4f} "
            f"| {score['folding_percent']['mean']:.4f} | {score['ndv_percent']['mean']:.4f} "
            f"| {found['parameters']:,} | {score['seconds']['mean']:.2f} "
            f"| {found['training_seconds']:.0f} |"
        )
    any_one = next(iter(summaries.values()))
    budget = f"{any_one['steps']} steps, seed {any_one['seed']}, the last step's weights"
    if any_one["overrides"]:
        budget = f"{', '.join(any_one['overrides'])}; {budget}"
    pairs = f"{any_one['held_out']['pairs']} and {any_one['validation']['pairs']} pairs"
    return "\n".join([*lines, "", f"{budget}; {pairs}; {any_one['machine']}."])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and score the ablations.")
    parser.add_argument("--config", type=pathlib.Path, default=pathlib.Path("configs/ixi_2mm.yaml"))
    parser.add_argument("--steps", type=int, default=600, metavar="N", help="of every variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME"
    )
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/ablations"))
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS / "ablations")
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    parser.add_argument("--override", dest="overrides", action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
