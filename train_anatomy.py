"""Train what names structures, and put it into a network's weights.

python train_anatomy.py examples --config configs/ixi_2mm.yaml --output FILE.npz
python train_anatomy.py train FILE.npz --output FILE.safetensors [--steps N]
python train_anatomy.py join FILE.safetensors --weights FOLDER --output FOLDER

The second reads no images, and needs no package that does: a machine with a GPU is given one file
and gives back another.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import get_args

import jax
import numpy as np

from drivenmorph_jax.data.structures import load_structures, save_structures
from drivenmorph_jax.errors import InputError, plain_reason
from drivenmorph_jax.model.anatomy_file import TrainedAnatomy, load_anatomy, save_anatomy
from drivenmorph_jax.model.config import AnatomyConfig, Precision
from drivenmorph_jax.training.anatomy import AnatomyTrainingConfig, held_out_dice, train_anatomy
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.training.journal import TrainingError
from drivenmorph_jax.training.parallel import BackendName

_TRAINING_OPTIONS = ("steps", "batch", "seed", "backend")


def main() -> int:
    """Exit code: 0 finished, 1 not finite, 2 unusable input, 128 + n ended by signal n, saved."""
    options = parse_arguments()
    try:
        enable_compilation_cache()
        return {"examples": gather, "train": train, "join": join}[options.task](options)
    except TrainingError as error:
        print(f"train_anatomy.py: error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        reason = plain_reason(error, memory="lower --batch")
        if reason is None:
            raise
        print(f"train_anatomy.py: error: {reason}", file=sys.stderr)
        return 2


def gather(options: argparse.Namespace) -> int:
    """Images and structures of a data set's training subjects, into one file."""
    from drivenmorph_jax.config import load_config
    from drivenmorph_jax.data.structure_reading import gather_structures

    examples = gather_structures(load_config(options.config, options.overrides).data)
    save_structures(options.output, examples)
    held = len(examples.held_images)
    print(f"{len(examples.images)} subjects and {held} held out, {len(examples.names)} structures")
    return 0


def train(options: argparse.Namespace) -> int:
    """Train, going on where an earlier run of the same settings ended; write the parameters."""
    examples = load_structures(options.examples)
    if not options.output.absolute().parent.is_dir():
        raise InputError(f"{options.output} cannot be written: make its folder first")
    usual, anatomy = AnatomyTrainingConfig(), AnatomyConfig(len(examples.names))
    chosen = {name: getattr(options, name) for name in _TRAINING_OPTIONS}
    try:
        training = dataclasses.replace(usual.training, **chosen)
        cfg = dataclasses.replace(usual, training=training, precision=options.precision)
        outcome = train_anatomy(examples, cfg, anatomy, options.output.with_suffix(".checkpoints"))
    except InputError as error:
        raise InputError(_by_options(str(error))) from None
    if outcome.signal_number is not None:
        print(f"stopped by a signal after step {int(outcome.state.step)}: the same command goes on")
        return 128 + outcome.signal_number
    params = jax.device_get(outcome.state.ema_params)
    dice = held_out_dice(params, examples, anatomy)
    for name, value in zip(examples.names, dice, strict=True):
        print(f"{value:.3f}  {name}")
    print(f"held-out Dice {dice.mean():.4f}")
    metadata = {
        "structures": list(examples.names),
        "training": {"steps": training.steps, "batch": training.batch, "seed": training.seed}
        | {"precision": cfg.precision, "optimiser": dataclasses.asdict(training.optimiser)}
        | {"images": dataclasses.asdict(cfg.images)},
        "held_out_dice": round(float(np.mean(dice)), 4),
    }
    save_anatomy(options.output, TrainedAnatomy(params, anatomy, metadata))
    return 0


def _by_options(message: str) -> str:
    """The mend in the words of this command, where it names a key of a config."""
    for name in _TRAINING_OPTIONS:
        message = message.replace(f"training.{name}=", f"--{name} ")
        message = message.replace(f"training.{name}", f"--{name}")
    return message


def join(options: argparse.Namespace) -> int:
    """The weights of a network with the anatomy of a file."""
    from drivenmorph_jax.model.correlation_parameters import with_correlation
    from drivenmorph_jax.model.weights import load_weights, save_weights

    trained, found = load_anatomy(options.anatomy), load_weights(options.weights)
    if found.model.sees == "mind":
        raise InputError(f"{options.weights} is for any contrasts: structures are named in one")
    if options.correlation_iterations < 1:
        raise InputError("--correlation-iterations: at least 1, or structures drive nothing")
    iterations = (options.correlation_iterations, *found.model.correlation_iterations[1:])
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
    return 0


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
    usual = AnatomyTrainingConfig().training
    part.add_argument("--steps", type=int, default=usual.steps)
    part.add_argument("--batch", type=int, default=usual.batch, help="images, over all devices")
    part.add_argument("--precision", choices=get_args(Precision), default="float32")
    part.add_argument("--seed", type=int, default=usual.seed)
    part.add_argument("--backend", choices=get_args(BackendName), default=usual.backend)

    part = tasks.add_parser("join", help="a network's weights and an anatomy")
    part.add_argument("anatomy", type=pathlib.Path, metavar="FILE.safetensors")
    part.add_argument("--weights", type=pathlib.Path, required=True, metavar="FOLDER")
    part.add_argument("--output", type=pathlib.Path, required=True, metavar="FOLDER")
    part.add_argument("--correlation-iterations", type=int, default=40, metavar="K")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
