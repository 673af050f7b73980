"""Train DrivenMorph.

python train.py --config configs/quickstart.yaml [--resume] [--run-dir DIR] [section.key=value …]

With --prepare DIR it writes the config's data into a folder of arrays, and ends: data.prepared=DIR
then trains on a machine that has neither the images nor a package that reads them.

On a cluster, start one process on each host, all with the same arguments, and add --distributed
where JAX knows the cluster (SLURM, Open MPI, Cloud TPU), or else
--coordinator HOST:PORT --processes N --process I.
"""

import argparse
import errno
import functools
import pathlib
import sys

from drivenmorph_jax.config import load_config
from drivenmorph_jax.errors import plain_reason
from drivenmorph_jax.training.compilation_cache import enable_compilation_cache
from drivenmorph_jax.training.experiment import train
from drivenmorph_jax.training.journal import TrainingError
from drivenmorph_jax.training.processes import join_processes

_MEMORY = "raise training.accumulate, or lower training.batch or data.shape"


def main() -> int:
    """Exit code: 0 finished, 1 not finite, 2 unusable input, 128 + n ended by signal n, saved.

    2 also for a disk that is full; the last checkpoint is then whole.
    """
    arguments = parse_arguments()
    run_dir = arguments.run_dir or pathlib.Path("runs") / arguments.config.stem
    try:
        if arguments.prepare:
            prepare(arguments)
            return 0
        if arguments.distributed or arguments.coordinator:
            join_processes(arguments.coordinator, arguments.processes, arguments.process)
        config = load_config(arguments.config, arguments.overrides)
        enable_compilation_cache()
        outcome = train(config, run_dir, resume=arguments.resume, profile=arguments.profile)
    except TrainingError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        # Output may go to the disk that is full; all else that writes has its own message.
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"{error.strerror}: make room, and --resume"
        else:
            reason = plain_reason(error, memory=_MEMORY)
        if reason is None:
            raise
        print(f"train.py: error: {reason}", file=sys.stderr)
        return 2
    if outcome.signal_number is not None:
        print(f"stopped by a signal after step {int(outcome.state.step)}: continue with --resume")
        return 128 + outcome.signal_number
    return 0


def prepare(arguments: argparse.Namespace) -> None:
    """The config's data as arrays in a folder."""
    from drivenmorph_jax.data.gathering import write_prepared

    config = load_config(arguments.config, arguments.overrides)
    write_prepared(config.data, arguments.prepare, progress=functools.partial(print, flush=True))
    print(f"written: train with data.prepared={arguments.prepare.absolute()}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train DrivenMorph.")
    parser.add_argument("--config", type=pathlib.Path, required=True, help="a file of configs/")
    parser.add_argument("--run-dir", type=pathlib.Path, help="default: runs/NAME of the config")
    parser.add_argument("--resume", action="store_true", help="from the run's last checkpoint")
    parser.add_argument(
        "--prepare",
        type=pathlib.Path,
        metavar="DIR",
        help="write the data there as arrays, and end",
    )
    parser.add_argument(
        "--profile",
        nargs="?",
        const="",
        metavar="FIRST:LAST",
        help="trace these steps into RUN_DIR/profile; given last and bare: a few after compilation",
    )
    parser.add_argument("--distributed", action="store_true", help="one process of a cluster's job")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    parser.add_argument("--processes", type=int, metavar="N", help="how many there are")
    parser.add_argument("--process", type=int, metavar="I", help="which this is, from 0")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="such as training.steps=100"
    )
    arguments = parser.parse_intermixed_args()
    of_training = ("run_dir", "resume", "profile", "distributed", "coordinator")
    if arguments.prepare and any(getattr(arguments, name) for name in of_training):
        parser.error("--prepare is done once, by one process: leave out what is for a training")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
