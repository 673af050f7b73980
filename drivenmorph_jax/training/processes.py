"""Several processes that train one model: how they find each other, and how they agree."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from drivenmorph_jax.errors import InputError


def join_processes(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Join the other processes of a run; call it before anything else touches JAX.

    Args:
        coordinator: HOST:PORT of process 0, the same for all; None where the cluster tells (SLURM,
            Open MPI, Cloud TPU).
        processes: how many there are.
        process: which of them this is, from 0.

    Raises:
        InputError: incomplete arguments, or the others cannot be found.
    """
    given = [value is not None for value in (coordinator, processes, process)]
    if any(given) and not all(given):
        raise InputError("several processes: give --coordinator, --processes and --process, all 3")
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"several processes: cannot join ({reason}): on a cluster that JAX does not know, give "
            "--coordinator HOST:PORT --processes N --process I"
        ) from error


def is_lead() -> bool:
    """Whether this process speaks and writes for all: logs, metrics, the run folder's files."""
    return jax.process_index() == 0


def any_process(value: bool) -> bool:
    """Whether `value` is true in any process; all must ask at the same place."""
    if jax.process_count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.asarray(value))))


def wait_for_all(where: str) -> None:
    """Until every process is at this place."""
    multihost_utils.sync_global_devices(where)
