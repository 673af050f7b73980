"""Train another learned registration as a config trains ours.

    python benchmarks/train_baseline.py unet --config configs/ixi_2mm.yaml [--run-dir DIR]
                                        [--resume] [section.key=value …]

Everything is the config's (data, pairs and their order, augmentation, optimiser, steps, similarity,
weight of the regularity), but the `model` section is not used and there is no supervision of a
force, as there is no force. The configs' weights, windows and learning rates were chosen for ours:
change them for the baseline by `section.key=value`. The run folder is like train.py's, and so is
what continues it.
"""

import argparse
import dataclasses
import pathlib
import sys

from baselines import BASELINES

from drivenmorph_jax.config import load_config
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.training.experiment import Config, train
from drivenmorph_jax.training.journal import TrainingError


def main() -> int:
    """Exit code: 0 finished, 1 not finite, 2 unusable input, 128 + n ended by signal n, saved."""
    arguments = parse_arguments()
    name = arguments.baseline
    run_dir = arguments.run_dir or pathlib.Path("runs") / f"{arguments.config.stem}_{name}"
    try:
        config = without_force(load_config(arguments.config, arguments.overrides))
        enable_compilation_cache()
        outcome = train(config, run_dir, resume=arguments.resume, network=BASELINES[name]())
    except (InputError, TrainingError) as error:
        print(f"train_baseline.py: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    if outcome.signal_number is not None:
        print(f"stopped by a signal after step {int(outcome.state.step)}: continue with --resume")
        return 128 + outcome.signal_number
    return 0


def without_force(config: Config) -> Config:
    """The config without the term that only ours has.

    Raises:
      InputError: it starts from weights, which are ours.
    """
    if config.training.initial_weights is not None:
        raise InputError("training.initial_weights are of DrivenMorph: set them to null")
    return dataclasses.replace(config, loss=dataclasses.replace(config.loss, force_weight=0.0))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train another network as ours is trained.")
    parser.add_argument("baseline", choices=BASELINES)
    parser.add_argument("--config", type=pathlib.Path, required=True, help="a file of configs/")
    parser.add_argument("--run-dir", type=pathlib.Path, help="default: runs/CONFIG_BASELINE")
    parser.add_argument("--resume", action="store_true", help="from the run's last checkpoint")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="such as training.steps=100"
    )
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(main())
