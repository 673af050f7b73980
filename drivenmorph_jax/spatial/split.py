"""Volumes split over devices along one spatial axis.

Under a mesh of devices with an axis named "space" (`jax.set_mesh`, or `jax.shard_map` over its
other axes), volumes (…, D, H, W, C) are split along H, one slab of rows a device, wherever H
divides. XLA then partitions by itself what acts at each voxel, reduces, or changes shape. Here is
what it would do badly: stencils exchange the rows at the borders of the slabs (halos) once, and
products along H change the split to D and back. Sampling is in `ring`. Without such a mesh nothing
here does anything, and the traced program is that of one device.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, Num

SPACE = "space"
"""The mesh axis over which volumes are split."""

AXIS = -3
"""The array axis that is split: H of (…, D, H, W, C)."""

WHOLE = PartitionSpec()
"""Every device holds all of it."""

SPREAD = PartitionSpec(SPACE)
"""The leading axis is divided over the devices."""


def space_devices() -> int:
    """Devices that share a volume here: 1 without a mesh, and inside `map_slabs`."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[SPACE] if SPACE in mesh.auto_axes else 1


def is_split(*shapes: Sequence[int]) -> bool:
    """Whether volumes of all these shapes are split here."""
    count = space_devices()
    return count > 1 and all(len(shape) >= 4 and shape[AXIS] % count == 0 for shape in shapes)


def slabs(ndim: int) -> PartitionSpec:
    """The split of a volume of so many axes."""
    return PartitionSpec(*[None] * (ndim + AXIS), SPACE)


def as_slabs(volume: Num[Array, "*space c"]) -> Num[Array, "*space c"]:
    """The same volume, split where its rows divide over the devices, else held whole by each."""
    return constrain(volume, slabs(volume.ndim) if is_split(volume.shape) else WHOLE)


def constrain(array: Num[Array, "..."], spec: PartitionSpec) -> Num[Array, "..."]:
    """The same array, where a spec says, if volumes are split here at all."""
    return array if space_devices() == 1 else lax.with_sharding_constraint(array, spec)


def map_slabs(function: Callable[..., Any], *, in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """`jax.shard_map` over the devices that share a volume; specs are `slabs(ndim)` or `WHOLE`.

    Without the check of varying axes: the cotangent of what is held whole is then summed over the
    devices.
    """
    return jax.shard_map(
        function, in_specs=in_specs, out_specs=out_specs, axis_names={SPACE}, check_vma=False
    )


def ranks() -> Int[Array, " n"]:
    """The place of each device among those that share a volume, for a spec of `SPREAD`.

    Not `axis_index`: XLA refuses it in a program that it partitions over other axes as well.
    """
    return jnp.arange(space_devices(), dtype=jnp.int32)


def stencil(
    function: Callable[..., Any],
    reach: int,
    volumes: Sequence[Num[Array, "*space c"]],
    weights: Sequence[Any] = (),
    *,
    beyond: Literal["zero", "edge", "straight"] = "zero",
) -> Any:
    """`function(*volumes, *weights)`, a window of `reach` rows to each side, of volumes that may
    be split.

    Args:
      function: takes volumes to one, or a pytree, of the same number of axes and of rows.
      reach: how many rows away from its own the function looks.
      volumes: (…, D, H, W, C), of one number of axes.
      weights: pytrees that every device needs whole.
      beyond: what the function sees beyond the grid: 0, the nearest row, or rows that go on
        straight, as `jnp.pad` does by an odd reflection.
    """
    shapes = [volume.shape for volume in volumes]
    needed = reach + (beyond == "straight")
    if not is_split(*shapes) or shapes[0][AXIS] // space_devices() < needed:
        return function(*volumes, *weights)

    def on_slab(rank, volumes, weights):
        extended = [_with_halo(volume, reach, rank[0], beyond) for volume in volumes]
        answer = function(*extended, *weights)
        return jax.tree.map(
            lambda y: lax.slice_in_dim(y, reach, y.shape[AXIS] - reach, axis=y.ndim + AXIS), answer
        )

    spec = slabs(volumes[0].ndim)
    return map_slabs(on_slab, in_specs=(SPREAD, spec, WHOLE), out_specs=spec)(
        ranks(), tuple(volumes), tuple(weights)
    )


def sum_over_slabs(function: Callable[..., Any], volumes: Sequence[Num[Array, "*space c"]]) -> Any:
    """`function(*volumes)` that is a sum over voxels, of volumes that may be split: the sum over
    the slabs.

    Args:
      function: takes volumes of any number of rows to an array.
      volumes: (…, D, H, W, C), of one number of axes.
    """
    if not is_split(*(volume.shape for volume in volumes)):
        return function(*volumes)
    return map_slabs(
        lambda *parts: lax.psum(function(*parts), SPACE),
        in_specs=slabs(volumes[0].ndim),
        out_specs=WHOLE,
    )(*volumes)


def _with_halo(slab, reach: int, rank, beyond: str):
    """The slab with the neighbours' nearest rows on either side."""
    if reach == 0:
        return slab
    count, axis = lax.axis_size(SPACE), slab.ndim + AXIS
    last = lax.slice_in_dim(slab, slab.shape[axis] - reach, None, axis=axis)
    first = lax.slice_in_dim(slab, 0, reach, axis=axis)
    # A device that nothing is sent to receives zeros.
    before = lax.ppermute(last, SPACE, [(i, i + 1) for i in range(count - 1)])
    after = lax.ppermute(first, SPACE, [(i + 1, i) for i in range(count - 1)])
    if beyond != "zero":
        size = slab.shape[axis]
        top = lax.slice_in_dim(slab, 0, 1, axis=axis)
        bottom = lax.slice_in_dim(slab, size - 1, None, axis=axis)
        if beyond == "straight":
            inner = lax.slice_in_dim(slab, 1, 1 + reach, axis=axis)
            top = 2 * top - jnp.flip(inner, axis)
            inner = lax.slice_in_dim(slab, size - 1 - reach, size - 1, axis=axis)
            bottom = 2 * bottom - jnp.flip(inner, axis)
        before = jnp.where(rank == 0, top, before)
        after = jnp.where(rank == count - 1, bottom, after)
    return jnp.concatenate([before, slab, after], axis=axis)


def multiply_axis(
    matrix: Float[Array, "new old"], volume: Float[Array, "*space c"], axis: int
) -> Float[Array, "*out c"]:
    """Σ_j matrix[i, j] · volume[…, j, …] along one axis of (D, H, W, C), which may be split."""

    def multiply(volume, matrix):
        return jnp.moveaxis(jnp.tensordot(matrix, volume, axes=(1, axis)), 0, axis)

    if axis - volume.ndim != AXIS:
        return multiply(volume, matrix)
    return map_columns(multiply, volume, matrix.shape[0], [matrix])


def map_columns(
    function: Callable[..., Any],
    volume: Num[Array, "*space c"],
    rows: int,
    weights: Sequence[Any] = (),
) -> Num[Array, "*out c"]:
    """`function(volume, *weights)`, which mixes the rows of (D, H, W, C) and does nothing along D.

    The split is changed from H to D and back (two all-to-alls): every device then sees whole
    columns, of some planes.

    Args:
      function: takes a volume of any depth to one of `rows` rows.
      volume: may be split.
      rows: of the answer.
      weights: pytrees that every device needs whole.
    """
    answer = (*volume.shape[:AXIS], rows, *volume.shape[AXIS + 1 :])
    if not is_split(volume.shape, answer):
        return function(volume, *weights)
    h = volume.ndim + AXIS

    def on_slab(slab, weights):
        depth, count = slab.shape[0], lax.axis_size(SPACE)
        padded = jnp.pad(slab, ((0, -depth % count), *[(0, 0)] * (slab.ndim - 1)))
        planes = lax.all_to_all(padded, SPACE, split_axis=0, concat_axis=h, tiled=True)
        planes = function(planes, *weights)
        slab = lax.all_to_all(planes, SPACE, split_axis=h, concat_axis=0, tiled=True)
        return slab[:depth]

    spec = slabs(volume.ndim)
    return map_slabs(on_slab, in_specs=(spec, WHOLE), out_specs=spec)(volume, tuple(weights))
