"""The mesh of all devices, and what lies where on it: the state, and a batch of volumes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.spatial.split import SPACE

DATA = "data"
"""The mesh axis over which the pairs of a batch are divided."""

_SMALL = 256  # elements up to which a leaf of the state is not worth splitting


class Share(NamedTuple):
    """Which part of every batch this process reads: part `index` of `count`."""

    index: int
    count: int


def training_mesh(space: int) -> Mesh:
    """All devices of all processes, `space` neighbours to a volume: axes (data, space).

    Raises:
        InputError: the devices do not divide so.
    """
    devices = jax.devices()
    if len(devices) % space:
        raise InputError(
            f"training.space is {space}, which does not divide the {len(devices)} devices: "
            "make it a divisor of their number"
        )
    # In the order of the processes, so that the devices of one hold whole pairs, or parts of one.
    grid = np.asarray(devices).reshape(-1, space)
    return Mesh(grid, (DATA, SPACE), axis_types=(AxisType.Auto, AxisType.Auto))


def reading_share(space: int) -> Share:
    """What this process reads; processes that share a volume read the same pairs.

    Raises:
        InputError: the devices of a process would belong to parts of several volumes.
    """
    local = jax.local_device_count()
    if local % space == 0:
        return Share(jax.process_index(), jax.process_count())
    if space % local:
        raise InputError(
            f"training.space is {space}, but a process has {local} devices: "
            f"make it a divisor or a multiple of {local}"
        )
    together = space // local
    return Share(jax.process_index() // together, jax.process_count() // together)


def place_volumes(batch: Any, mesh: Mesh) -> Any:
    """The whole batch on the mesh, from the part of it that this process has read.

    Args:
        batch: leaves with a leading axis of pairs; those of 4 axes or more are volumes,
            (B, D, H, W, …), whose H is split.

    Raises:
        InputError: the volumes do not split.
    """
    space = mesh.shape[SPACE]
    count = reading_share(space).count

    def place(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        spec = PartitionSpec(DATA)
        if leaf.ndim >= 4:
            if space > 1 and leaf.shape[2] % (2 * space):
                raise InputError(
                    f"images of {leaf.shape[1:4]} voxels do not split over training.space={space} "
                    f"devices: crop or pad their second axis to a multiple of {2 * space}"
                )
            spec = PartitionSpec(DATA, None, SPACE)
        whole = (leaf.shape[0] * count, *leaf.shape[1:])
        return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), leaf, whole)

    return jax.tree.map(place, batch)


def state_shardings(state: Any, mesh: Mesh, *, shard: bool) -> Any:
    """Where each leaf of the state lies: whole on every device, or split over the data axis.

    Args:
        state: a pytree of arrays or their shapes.
        shard: split leaves along their largest axis that divides; small ones stay whole.
    """
    return jax.tree.map(
        lambda leaf: NamedSharding(mesh, _leaf_spec(leaf.shape, mesh.shape[DATA], shard)), state
    )


def _leaf_spec(shape: Sequence[int], count: int, shard: bool) -> PartitionSpec:
    divisible = [axis for axis, size in enumerate(shape) if size % count == 0]
    if not shard or count == 1 or not divisible or np.prod(shape) <= _SMALL:
        return PartitionSpec()
    largest = max(divisible, key=lambda axis: shape[axis])
    return PartitionSpec(*[None] * largest, DATA)
