"""Where a step runs: on one device, or data-parallel over all local ones."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.state import TrainState
from drivenmorph_jax.training.step import LossFunction, Step, make_step

BackendName = Literal["auto", "single", "pmap"]
AXIS = "batch"


class Backend(NamedTuple):
    """A compiled step with the placement of what it is given.

    step: `(state, batch) -> (state, metrics)`; the state given is donated, and so used up.
    place_state, place_batch: host or device values -> where the step wants them. A batch has its
        leading axis first; `place_batch` splits it over the devices.
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
) -> Backend:
    """The backend of that name; "auto" is pmap where there are several local devices.

    Raises:
        InputError: the batch does not divide over the devices.
    """
    devices = jax.local_devices()
    if name == "auto":
        name = "pmap" if len(devices) > 1 else "single"
    if name == "single":
        return _single(loss_fn, optimiser, ema_decay, devices[0])
    if batch % len(devices):
        raise InputError(
            f"training.batch is {batch}, which does not divide over {len(devices)} devices: "
            f"make it a multiple of {len(devices)}, or set training.backend=single"
        )
    return _pmap(loss_fn, optimiser, ema_decay, devices)


def _single(
    loss_fn: LossFunction,
    optimiser: optax.GradientTransformation,
    ema_decay: float,
    device: Any,
) -> Backend:
    step = make_step(loss_fn, optimiser, ema_decay=ema_decay)
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
    devices: Sequence[Any],
) -> Backend:
    # The state enters and leaves as one replicated value (axes None): no leading device axis, so
    # a checkpoint does not depend on the number of devices, and nothing indexes x[0].
    step = jax.pmap(
        make_step(loss_fn, optimiser, ema_decay=ema_decay, axis=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        devices=devices,
        donate_argnums=0,
    )
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    replicated = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec(AXIS))

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
