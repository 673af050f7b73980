"""Where a step runs: on one device, or data-parallel over those of one or many processes."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.state import TrainState
from drivenmorph_jax.training.step import LossFunction, Step, make_step

BackendName = Literal["auto", "single", "pmap", "mesh"]
AXIS = "batch"


class Backend(NamedTuple):
    """A compiled step with the placement of what it is given.

    step: `(state, batch) -> (state, metrics)`; the state given is donated, and so used up.
    devices: of all processes.
    place_state, place_batch: host or device values -> where the step wants them. A batch has its
        leading axis first, and of it each process gives its own part; `place_batch` splits that
        over the devices.
    """

    name: str
    devices: int
    step: Step
    place_state: Callable[[TrainState], TrainState]
    place_batch: Callable[[Any], Any]


def make_backend(
    name: BackendName,
    loss_fn: LossFunction,
    optimiser: optax.GradientTransformation,
    *,
    batch: int,
    ema_decay: float,
    accumulate: int = 1,
) -> Backend:
    """The backend of that name.

    "auto" is "single" for one device, "pmap" for several of one process, "mesh" for several
    processes.

    Args:
        batch: examples of a step, over all processes.
        accumulate: see `make_step`.

    Raises:
        InputError: the batch does not divide over the devices and micro-batches, or the backend
            does not reach the devices of the other processes.
    """
    processes, devices = jax.process_count(), jax.devices()
    if name == "auto":
        name = "mesh" if processes > 1 else "pmap" if len(devices) > 1 else "single"
    if processes > 1 and name != "mesh":
        raise InputError(
            f"training.backend is {name}, which serves one process, but there are {processes}: "
            "set training.backend=mesh"
        )
    if name != "single" and batch % len(devices):
        raise InputError(
            f"training.batch is {batch}, which does not divide over {len(devices)} devices: "
            f"make it a multiple of {len(devices)}, or set training.backend=single"
        )
    share = batch if name == "single" else batch // len(devices)
    if share % accumulate:
        raise InputError(
            f"training.accumulate is {accumulate}, which does not divide a device's {share} "
            f"pair(s) of an update: make training.batch a multiple of {batch // share * accumulate}"
        )
    if name == "single":
        return _single(loss_fn, optimiser, ema_decay, accumulate, devices[0])
    build = _pmap if name == "pmap" else _mesh
    return build(loss_fn, optimiser, ema_decay, accumulate, devices)


def _single(
    loss_fn: LossFunction,
    optimiser: optax.GradientTransformation,
    ema_decay: float,
    accumulate: int,
    device: Any,
) -> Backend:
    step = make_step(loss_fn, optimiser, ema_decay=ema_decay, accumulate=accumulate)
    return Backend(
        name="single",
        devices=1,
        step=jax.jit(step, donate_argnums=0),
        place_state=lambda state: jax.device_put(state, device),
        place_batch=lambda batch: jax.device_put(batch, device),
    )


def _pmap(
    loss_fn: LossFunction,
    optimiser: optax.GradientTransformation,
    ema_decay: float,
    accumulate: int,
    devices: Sequence[Any],
) -> Backend:
    # The state enters and leaves as one replicated value (axes None): no leading device axis, so
    # a checkpoint does not depend on the number of devices, and nothing indexes x[0].
    step = jax.pmap(
        make_step(loss_fn, optimiser, ema_decay=ema_decay, accumulate=accumulate, axis=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        devices=devices,
        donate_argnums=0,
    )
    replicated, split = _shardings(devices)

    def place_batch(batch: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.device_put(
                np.reshape(leaf, (len(devices), -1, *np.shape(leaf)[1:])), split
            ),
            batch,
        )

    return Backend(
        name="pmap",
        devices=len(devices),
        step=step,
        place_state=lambda state: jax.device_put(state, replicated),
        place_batch=place_batch,
    )


def _mesh(
    loss_fn: LossFunction,
    optimiser: optax.GradientTransformation,
    ema_decay: float,
    accumulate: int,
    devices: Sequence[Any],
) -> Backend:
    replicated, split = _shardings(devices)
    # Without the check of varying axes gradients stay local to the shard, as under pmap.
    step = jax.shard_map(
        make_step(loss_fn, optimiser, ema_decay=ema_decay, accumulate=accumulate, axis=AXIS),
        mesh=replicated.mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(),
        check_vma=False,
    )

    def place_batch(batch: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(split, np.asarray(leaf)), batch
        )

    return Backend(
        name="mesh",
        devices=len(devices),
        step=jax.jit(step, donate_argnums=0),
        # Not `device_put`, which reaches the devices of this process only.
        place_state=jax.jit(lambda state: state, out_shardings=replicated),
        place_batch=place_batch,
    )


def _shardings(devices: Sequence[Any]) -> tuple[NamedSharding, NamedSharding]:
    """Replicated over the devices, and split over them along the first axis."""
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
