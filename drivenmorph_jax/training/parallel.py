"""Where a step runs: on one device, or data-parallel over those of one or many processes."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.spatial.split import SPACE
from drivenmorph_jax.training.mesh import (
    DATA,
    place_volumes,
    reading_share,
    state_shardings,
    training_mesh,
)
from drivenmorph_jax.training.state import TrainState
from drivenmorph_jax.training.step import (
    GradientFunction,
    LossFunction,
    Metrics,
    Step,
    make_step,
)

BackendName = Literal["auto", "single", "pmap", "mesh"]
AXIS = "batch"


class Backend(NamedTuple):
    """A compiled step with the placement of what it is given.

    step: `(state, batch) -> (state, metrics)`; the state given is donated, and so used up.
    devices: of all processes.
    place_state, place_batch: host or device values -> where the step wants them. A batch has its
        leading axis first, and of it each process gives its own part; `place_batch` splits that
        over the devices.
    gather: part of a state -> the same, whole on every device.
    mesh: the devices, where volumes are split over them.
    """

    name: str
    devices: int
    step: Step
    place_state: Callable[[TrainState], TrainState]
    place_batch: Callable[[Any], Any]
    gather: Callable[[Any], Any] = lambda params: params
    mesh: Mesh | None = None


def make_backend(
    name: BackendName,
    loss_fn: LossFunction,
    optimiser: optax.GradientTransformation,
    *,
    batch: int,
    ema_decay: float,
    accumulate: int = 1,
    space: int = 1,
    shard_state: bool = False,
) -> Backend:
    """The backend of that name.

    "auto" is "single" for one device, "pmap" for several of one process, "mesh" for several
    processes, and where `space` or `shard_state` ask for it.

    Args:
        batch: examples of a step, over all processes.
        accumulate: see `make_step`.
        space: devices that share a volume ("mesh" alone).
        shard_state: split the state over the devices, too ("mesh" alone).

    Raises:
        InputError: the batch does not divide over the devices and micro-batches, or the backend
            does not reach the devices of the other processes.
    """
    processes, devices = jax.process_count(), jax.devices()
    if name == "auto":
        name = "pmap" if len(devices) > 1 else "single"
        if processes > 1 or space > 1 or shard_state:
            name = "mesh"
    if processes > 1 and name != "mesh":
        raise InputError(
            f"training.backend is {name}, which serves one process, but there are {processes}: "
            "set training.backend=mesh"
        )
    if name == "mesh":
        reading_share(space)
        training_mesh(space)
    groups = 1 if name == "single" else len(devices) // space
    if batch % groups:
        each = f"groups of {space} devices" if space > 1 else "devices"
        raise InputError(
            f"training.batch is {batch}, which does not divide over {groups} {each}: "
            f"make it a multiple of {groups}, or set training.backend=single"
        )
    if batch // groups % accumulate:
        raise InputError(
            f"training.accumulate is {accumulate}, which does not divide a device's "
            f"{batch // groups} pair(s) of an update: make training.batch a multiple of "
            f"{groups * accumulate}"
        )
    if name == "single":
        return _single(loss_fn, optimiser, ema_decay, accumulate, devices[0])
    if name == "pmap":
        return _pmap(loss_fn, optimiser, ema_decay, accumulate, devices)
    return _mesh(loss_fn, optimiser, ema_decay, accumulate, space, shard_state)


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
    space: int,
    shard_state: bool,
) -> Backend:
    mesh = training_mesh(space)

    def over_shards(gradient: GradientFunction) -> GradientFunction:
        # Volumes that are split are left to XLA, and to `spatial.split`. Without the check of
        # varying axes gradients stay local to the shard, as under pmap.
        return jax.shard_map(
            gradient,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(DATA), PartitionSpec(DATA)),
            out_specs=PartitionSpec(),
            axis_names={DATA} if space > 1 else {DATA, SPACE},
            check_vma=False,
        )

    step = make_step(
        loss_fn,
        optimiser,
        ema_decay=ema_decay,
        accumulate=accumulate,
        axis=DATA,
        over_shards=over_shards,
    )

    def placed_step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        state, metrics = step(state, batch)
        where = state_shardings(state, mesh, shard=shard_state)
        return jax.lax.with_sharding_constraint(state, where), metrics

    def place_state(state: TrainState) -> TrainState:
        # Not `device_put`, which reaches the devices of this process only.
        where = state_shardings(state, mesh, shard=shard_state)
        return jax.jit(lambda state: state, out_shardings=where)(state)

    return Backend(
        name="mesh",
        devices=mesh.size,
        step=jax.jit(placed_step, donate_argnums=0),
        place_state=place_state,
        place_batch=lambda batch: place_volumes(batch, mesh),
        gather=jax.jit(lambda params: params, out_shardings=NamedSharding(mesh, PartitionSpec())),
        mesh=mesh if space > 1 else None,
    )


def _shardings(devices: Sequence[Any]) -> tuple[NamedSharding, NamedSharding]:
    """Replicated over the devices, and split over them along the first axis."""
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
