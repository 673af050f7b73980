"""Evaluate a trained DrivenMorph, or classical Demons.

python eval.py --checkpoint DIR [--best | --step N] [--data-config CONFIG.yaml] [--output DIR]
               [--limit N] [--method drivenmorph | demons] [section.key=value …]

DIR is a run folder of train.py (its averaged parameters are used) or a folder of released weights.
Writes pairs.csv, summary.json, explain.json and figure.png, and pairs_without_residual.csv where
there are residual forces. Run again, it continues.
"""

import argparse
import pathlib
import sys
from typing import Any, NamedTuple

import yaml
from rich.console import Console
from rich.table import Table

from drivenmorph_jax.config import Config, load_config, parse_config
from drivenmorph_jax.data import load_validation
from drivenmorph_jax.errors import InputError, plain_reason
from drivenmorph_jax.evaluation import Method, Report, classical_method, evaluate, learned_method
from drivenmorph_jax.model.weights import is_weights_folder, load_weights
from drivenmorph_jax.training.checkpoint import load_parameters
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.training.experiment import as_document


class Subject(NamedTuple):
    """What is evaluated: the method, the config it was trained with, and where it comes from."""

    method: Method
    document: dict[str, Any]
    origin: dict[str, Any]


def main() -> int:
    """Exit code: 0 finished, 2 unusable input."""
    arguments = parse_arguments()
    try:
        enable_compilation_cache()
        subject = open_subject(arguments)
        config = data_config(arguments, subject.document)
        settings = {**subject.origin, "data": as_document(config.data)}
        data = load_validation(config.data, progress=say)
        output = arguments.output or default_output(arguments, subject.origin)
        report = evaluate(
            subject.method, data, output, settings=settings, limit=arguments.limit, progress=say
        )
    except Exception as error:
        reason = plain_reason(error)
        if reason is None:
            raise
        print(f"eval.py: error: {reason}", file=sys.stderr)
        return 2
    print_report(report, output)
    return 0


def open_subject(arguments: argparse.Namespace) -> Subject:
    """The method that was asked for, with what its folder holds besides."""
    folder = arguments.checkpoint
    if folder is None:
        if arguments.method == "drivenmorph" or arguments.data_config is None:
            raise InputError("give --checkpoint DIR, or --method demons with --data-config")
        return Subject(classical_method(), {}, {})
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: give a run folder or a folder of weights")
    if is_weights_folder(folder):
        if arguments.step is not None:
            raise InputError(f"{folder} holds released weights: they have no --step")
        weights = load_weights(folder)
        method = learned_method(weights.params, weights.model)
        document, origin = weights.metadata, {"weights": str(folder)}
    else:
        found = load_parameters(folder, "best" if arguments.step is None else arguments.step)
        text = yaml.safe_dump({"model": found.config.get("model", {})})
        model = parse_config(text, source=f"config of {folder}").model
        method = learned_method(found.params, model)
        document, origin = found.config, {"checkpoint": str(folder), "step": found.step}
    if arguments.method == "demons":
        return Subject(classical_method(), document, {})
    return Subject(method, document, origin)


def data_config(arguments: argparse.Namespace, document: dict[str, Any]) -> Config:
    """The data to evaluate on: a config file's, else those of the training, with overrides."""
    if arguments.data_config is not None:
        return load_config(arguments.data_config, arguments.overrides)
    if "data" not in document:
        raise InputError(f"{arguments.checkpoint} does not say on what data: give --data-config")
    text = yaml.safe_dump({"data": document["data"]})
    return parse_config(text, arguments.overrides, source=f"config of {arguments.checkpoint}")


def default_output(arguments: argparse.Namespace, origin: dict[str, Any]) -> pathlib.Path:
    """A folder of its own for every method and step, beside the run."""
    name = f"step_{origin['step']}" if "step" in origin else arguments.method
    if arguments.data_config is not None:
        name = f"{arguments.data_config.stem}_{name}"
    if arguments.checkpoint is None or is_weights_folder(arguments.checkpoint):
        return pathlib.Path("runs") / "evaluation" / name
    return arguments.checkpoint / "evaluation" / name


def print_report(report: Report, output: pathlib.Path) -> None:
    """The summary as tables."""
    console = Console()
    scores = Table(
        "metric", "mean", "std", title=f"{report.summary['method']}, {len(report.rows)} pairs"
    )
    for name, value in report.summary["metrics"].items():
        scores.add_row(name, f"{value['mean']:.4f}", f"{value['std']:.4f}")
    console.print(scores)
    levels = report.explanation["levels"]
    names = list(dict.fromkeys(name for level in levels.values() for name in level))
    force = Table("force and deformation", *levels, title="mean over the pairs ± 95 % confidence")
    for name in names:
        cells = [level.get(name, {}) for level in levels.values()]
        force.add_row(
            name, *(f"{c['mean']:.3f} ± {c.get('ci95', 0):.3f}" if c else "" for c in cells)
        )
    console.print(force)
    kept = report.explanation.get("residual_zeroed", {}).get("dice_gain_kept")
    if kept is not None:
        console.print(f"Dice gain kept with the learned residual zeroed: {kept:.1%}")
    console.print(f"written to {output}", soft_wrap=True, highlight=False)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate DrivenMorph or classical Demons.")
    parser.add_argument("--checkpoint", type=pathlib.Path, help="a run folder, or released weights")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--best", action="store_true", help="the best checkpoint (the default)")
    which.add_argument("--step", type=int, help="the checkpoint of this step")
    parser.add_argument("--data-config", type=pathlib.Path, help="evaluate on this config's data")
    parser.add_argument("--output", type=pathlib.Path, help="default: a folder in the run folder")
    parser.add_argument("--limit", type=positive, help="only the first N pairs")
    parser.add_argument("--method", choices=("drivenmorph", "demons"), default="drivenmorph")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="such as data.path="
    )
    return parser.parse_intermixed_args()


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} pairs: at least 1")
    return value


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
