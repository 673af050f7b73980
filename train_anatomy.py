"""Train what names structures, and put it into a network's weights.

python train_anatomy.py examples --config configs/ixi_2mm.yaml --output FILE.npz
python train_anatomy.py train FILE.npz --output FILE.safetensors [--steps N]
python train_anatomy.py join FILE.safetensors --weights FOLDER --output FOLDER

The second needs no images, and JAX, Flax, Optax, jaxtyping and safetensors alone: a machine with a
GPU is given one file and gives back another.
"""

import argparse
import dataclasses
import pathlib
import sys
import time

import numpy as np

from drivenmorph_jax.data.structures import load_structures, save_structures
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.anatomy_file import TrainedAnatomy, load_anatomy, save_anatomy
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.training.anatomy import AnatomyTrainingConfig, held_out_dice, train_anatomy
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache


def main() -> int:
    """Exit code: 0 finished, 2 unusable input."""
    options = parse_arguments()
    try:
        enable_compilation_cache()
        {"examples": gather, "train": train, "join": join}[options.task](options)
    except InputError as error:
        print(f"train_anatomy.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def gather(options: argparse.Namespace) -> None:
    """Images and structures of a data set's training subjects, into one file."""
    from drivenmorph_jax.config import load_config
    from drivenmorph_jax.data.structure_reading import gather_structures

    examples = gather_structures(load_config(options.config, options.overrides).data)
    save_structures(options.output, examples)
    held = len(examples.held_images)
    print(f"{len(examples.images)} subjects and {held} held out, {len(examples.names)} structures")


def train(options: argparse.Namespace) -> None:
    """Train, going on where an earlier run of the same settings ended; write the parameters."""
    examples = load_structures(options.examples)
    if not options.output.absolute().parent.is_dir():
        raise InputError(f"{options.output} cannot be written: make its folder first")
    cfg = AnatomyTrainingConfig(
        steps=options.steps, batch=options.batch, precision=options.precision, seed=options.seed
    )
    anatomy = AnatomyConfig(len(examples.names))
    start, first = time.perf_counter(), None

    def progress(step: int, metrics: dict[str, float]) -> None:
        nonlocal start, first
        if first is None:  # What came before was compilation.
            start, first = time.perf_counter(), step
            rate = "compiled"
        else:
            each = (time.perf_counter() - start) / (step - first)
            rate = f"{each:.3f} s/step  {each * (cfg.steps - step):.0f} s left"
        print(
            f"step {step}/{cfg.steps}  cross-entropy {metrics['cross_entropy']:.4f}  "
            f"Dice {metrics['dice']:.4f}  {rate}",
            flush=True,
        )

    state = options.output.with_suffix(".state.npz")
    params = train_anatomy(examples, cfg, anatomy, state_path=state, progress=progress)
    dice = held_out_dice(params, examples, anatomy)
    for name, value in zip(examples.names, dice, strict=True):
        print(f"{value:.3f}  {name}")
    print(f"held-out Dice {dice.mean():.4f}")
    metadata = {
        "structures": list(examples.names),
        "training": dataclasses.asdict(cfg),
        "held_out_dice": round(float(np.mean(dice)), 4),
    }
    save_anatomy(options.output, TrainedAnatomy(params, anatomy, metadata))


def join(options: argparse.Namespace) -> None:
    """The weights of a network with the anatomy of a file."""
    from drivenmorph_jax.model.correlation import with_correlation
    from drivenmorph_jax.model.weights import load_weights, save_weights

    trained, found = load_anatomy(options.anatomy), load_weights(options.weights)
    if found.model.sees == "mind":
        raise InputError(f"{options.weights} is for any contrasts: structures are named in one")
    if options.correlation_iterations < 1:
        raise InputError("--correlation-iterations: at least 1, or structures drive nothing")
    iterations = (options.correlation_iterations,)
    # Constants of the iterations are those of a network with an anatomy.
    bare = with_correlation(
        found.params, dataclasses.replace(found.model, correlation_iterations=())
    )
    model = dataclasses.replace(
        found.model, anatomy=trained.config, correlation_iterations=iterations
    )
    params = with_correlation({**bare, "anatomy": trained.params}, model)
    save_weights(options.output, params, model, {**found.metadata, "anatomy": trained.metadata})
    print(f"written to {options.output}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train what names structures.")
    tasks = parser.add_subparsers(dest="task", required=True)

    part = tasks.add_parser("examples", help="images and structures, into one file")
    part.add_argument("--config", type=pathlib.Path, required=True, help="its section `data`")
    part.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE.npz")
    part.add_argument("overrides", nargs="*", metavar="section.key=value")

    part = tasks.add_parser("train", help="on such a file")
    part.add_argument("examples", type=pathlib.Path, metavar="FILE.npz")
    part.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE.safetensors")
    usual = AnatomyTrainingConfig()
    part.add_argument("--steps", type=int, default=usual.steps)
    part.add_argument("--batch", type=int, default=usual.batch)
    part.add_argument("--precision", choices=["float32", "bfloat16"], default=usual.precision)
    part.add_argument("--seed", type=int, default=usual.seed)

    part = tasks.add_parser("join", help="a network's weights and an anatomy")
    part.add_argument("anatomy", type=pathlib.Path, metavar="FILE.safetensors")
    part.add_argument("--weights", type=pathlib.Path, required=True, metavar="FOLDER")
    part.add_argument("--output", type=pathlib.Path, required=True, metavar="FOLDER")
    part.add_argument("--correlation-iterations", type=int, default=40, metavar="K")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
