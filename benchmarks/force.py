"""Does the force explain? Statistics, and a causal test, over the validation pairs of a data set.

    python benchmarks/force.py [--data ixi malf] [--weights NAME | --checkpoint DIR]
                                [--levels-alone] [--pairs N] [--figures DIR]

Both data sets at 2 mm (DRIVENMORPH_DATA). Every pair is kept in OUTPUT/cache, under a hash of
weights and images, so that the script continues where it was stopped. Written for each data set:
OUTPUT/DATA.json, OUTPUT/DATA.txt in plain words, OUTPUT/DATA.md with the tables of docs/force.md,
and the figures; with --levels-alone, the network without the iterations of local correlation after
its levels, DATA_levels.json and so on.
"""

import argparse
import dataclasses
import pathlib
import sys
import time
from typing import Any

import numpy as np
from force_tables import force_tables
from machine import describe_machine, hold_to_threads
from methods import levels_alone
from records import digest, write_record

from drivenmorph_jax.cli.terminal import say
from drivenmorph_jax.config import load_config
from drivenmorph_jax.data import DataConfig, EvaluationData, load_validation
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation.causal import choose_centres, remove_force, with_all_force
from drivenmorph_jax.evaluation.explain import control_partners
from drivenmorph_jax.evaluation.force_figure import draw_force_statistics, draw_removal
from drivenmorph_jax.evaluation.force_study import (
    CENTRES,
    Images,
    PairForce,
    load_pair,
    save_pair,
    study_pair,
    summarise_force,
)
from drivenmorph_jax.evaluation.force_words import in_words
from drivenmorph_jax.evaluation.study import spacing_of
from drivenmorph_jax.pipeline import (
    Method,
    load_checkpoint,
    load_pretrained,
    network_method,
)
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.writing import write_atomically

# Raise it whenever a pair would give other figures.
VERSION = 5
DATA = {"ixi": "IXI, 2 mm", "malf": "MALF, 2 mm"}
RADII = (16.0, 24.0, 40.0, 56.0)
"""Of the balls that the force is removed in, mm: one more than `drivenmorph explain` has time for,
in which a good part of the brain lies."""

_CONTROL = "the force of another pair"
_EXAMPLE_RADIUS = 40.0


def main() -> int:
    arguments = parse_arguments()
    arguments.figures = arguments.figures or arguments.output
    threads = hold_to_threads(arguments.threads)
    enable_compilation_cache()
    try:
        found = (
            load_checkpoint(arguments.checkpoint)
            if arguments.checkpoint
            else load_pretrained(arguments.weights)
        )
        method = network_method(levels_alone(found) if arguments.levels_alone else found)
        method = method._replace(solve=with_all_force(method.solve))
        config = load_config(arguments.config)
        for name in arguments.data:
            data = load_validation(data_of(name, config.data), progress=say)
            run(name, data, method, arguments, threads)
    except InputError as error:
        print(f"force.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def data_of(name: str, cfg: DataConfig) -> DataConfig:
    """The configured data, or MALF's validation subjects on the same grid."""
    if name == "ixi":
        return cfg
    assert cfg.path is not None
    folder = pathlib.Path(cfg.path).parent / "malf_1mm"
    return dataclasses.replace(cfg, validation_path=str(folder))


def run(name: str, data: EvaluationData, method: Method, arguments: Any, threads: int) -> None:
    pairs = data.pairs[: arguments.pairs]
    suffix = "_levels" if arguments.levels_alone else ""
    studied, start, worked = [], time.monotonic(), 0
    for place, pair in enumerate(pairs):
        path = arguments.output / "cache" / f"{name}-{key_of(data, pair, method)}.npz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            images = images_of(data, pair)
            save_pair(path, study_pair(method.solve, images, radii=RADII, progress=lambda _: None))
            worked += 1
            each = (time.monotonic() - start) / worked
            left = each * (len(pairs) - place - 1)
            say(f"{name} {place + 1} of {len(pairs)}: {each:.0f} s a pair, {left:.0f} s left")
        studied.append(load_pair(path))
    partners = control_partners(pairs)
    controls: list[PairForce | None] = [None if p is None else studied[p] for p in partners]
    width = method.smoothing_voxels * float(np.mean(spacing_of(data)))
    summary = summarise_force(studied, controls, smoothing=width)
    text = in_words(summary, control=_CONTROL)
    tables = force_tables(summary)
    print(f"\n{DATA[name]}\n\n{text}\n{tables}")
    machine = describe_machine(threads)
    document = {"data": DATA[name], "method": method.details, "machine": machine, **summary}
    write_record(arguments.output / f"{name}{suffix}.json", document)
    write_text(arguments.output / f"{name}{suffix}.txt", text)
    write_text(arguments.output / f"{name}{suffix}.md", tables)
    arguments.figures.mkdir(parents=True, exist_ok=True)
    title = f"{DATA[name]}: {len(pairs)} validation pairs, {method.details['weights']}"
    draw_force_statistics(
        arguments.figures / f"force_{name}{suffix}.png",
        summary,
        title=title,
        control="another pair's",
    )
    if name == "ixi":
        draw_example(data, method, arguments.figures / f"force_removed{suffix}.png")


def write_text(path: pathlib.Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text))


def draw_example(data: EvaluationData, method: Method, path: pathlib.Path) -> None:
    """The first pair and the first ball, which nobody chose for their looks."""
    fixed, moving, spacing = images_of(data, data.pairs[0])
    centre = choose_centres(fixed != 0, spacing, 1)[0]
    full = np.asarray(method.solve(fixed, moving, None).displacement)
    ball: dict[str, Any] = {"spacing": spacing, "centre": centre, "radius": _EXAMPLE_RADIUS}
    _, reduced = remove_force(method.solve, fixed, moving, full, **ball)
    names = [data.subjects[i].name for i in data.pairs[0]]
    title = f"{names[1]} to {names[0]}: the force removed within {_EXAMPLE_RADIUS:g} mm"
    draw_removal(path, fixed, moving, (full, reduced), title=title, **ball)


def images_of(data: EvaluationData, pair: tuple[int, int]) -> Images:
    fixed, moving = (np.asarray(data.subjects[i].image, np.float32) for i in pair)
    return Images(fixed, moving, spacing_of(data))


def key_of(data: EvaluationData, pair: tuple[int, int], method: Method) -> str:
    fixed, moving, spacing = images_of(data, pair)
    names = "__".join(data.subjects[i].name for i in pair)
    settings = [method.details, spacing, RADII, CENTRES]
    return f"{names}-{digest(VERSION, settings, fixed, moving)}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the driving force explains.")
    parser.add_argument("--config", type=pathlib.Path, default=pathlib.Path("configs/ixi_2mm.yaml"))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA), metavar="NAME")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--weights", default="brain-t1", metavar="NAME", help="of the package")
    weights.add_argument("--checkpoint", type=pathlib.Path, metavar="DIR", help="your own")
    parser.add_argument("--levels-alone", action="store_true", help="no iterations of correlation")
    parser.add_argument("--pairs", type=int, help="only the first N")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/force"))
    parser.add_argument("--figures", type=pathlib.Path, help="default: OUTPUT; docs/ holds them")
    parser.add_argument("--threads", type=int, help="default: all cores that this process may use")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
