"""Evaluation on the way: how well the held-out pairs register with the parameters so far."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from drivenmorph_jax.data.dataset import EvaluationData
from drivenmorph_jax.evaluation.pair import overlap
from drivenmorph_jax.evaluation.slices import draw_slices, summed_force
from drivenmorph_jax.model.result import Registration
from drivenmorph_jax.objective.similarity import lncc
from drivenmorph_jax.spatial.jacobian import jacobian_determinant
from drivenmorph_jax.spatial.masks import brain_mask
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.spatial.split import is_split, slabs

# (params, fixed, moving) -> registration, for one pair of (D, H, W, 1) images.
Register = Callable[[Any, Array, Array], Registration]


def make_monitor(
    register: Register,
    data: EvaluationData,
    devices: Sequence[Any],
    *,
    mesh: Mesh | None = None,
    pictures: bool = False,
) -> Callable[[Any], dict[str, Any]]:
    """Build `evaluate(params)`: means over the pairs of `data`, which are shared by the devices.

    With a mesh its devices, of all processes, work on one pair at a time instead, its volumes split
    over them.

    Gives `lncc` (a loss) and `folding_percent`; with labels `dice` and `dice_before`; where the
    true displacement is known, `error_voxels` inside the brain. With `pictures` also those of
    `draw_slices`, of the first pair.
    """
    if mesh is None:
        at_once, measure = len(devices), _on_devices(register, devices)
        line = jax.make_mesh((len(devices),), ("pair",), (AxisType.Auto,), devices=devices)
        everywhere = NamedSharding(line, PartitionSpec())
    else:
        at_once, measure = 1, _on_mesh(register, mesh)
        everywhere = NamedSharding(mesh, PartitionSpec())
    nothing = np.zeros((*np.shape(data.subjects[0].image), 3), np.float32)
    before = [_dice(data, index, nothing) for index in range(len(data.pairs))]

    def evaluate(params: Any) -> dict[str, float]:
        # By way of the host: a program of one process takes nothing that others hold a part of.
        params = jax.device_put(jax.device_get(params), everywhere)
        rows: list[dict[str, float]] = []
        drawn: dict[str, Any] = {}
        for first in range(0, len(data.pairs), at_once):
            chosen = range(first, min(first + at_once, len(data.pairs)))
            # The last round is filled up, so that every round has one shape and one program.
            filled = [*chosen, *[first] * (at_once - len(chosen))]
            batch = _stack([_pair(data, index) for index in filled])
            measured, fields = measure(params, batch)
            measured, displacements = jax.device_get((measured, fields["displacement"]))
            if pictures and not first:
                own = {name: leaf[0] for name, leaf in fields.items()}
                drawn = draw_slices(batch["fixed"][0], batch["moving"][0], **jax.device_get(own))
            for k, index in enumerate(chosen):
                row = {name: float(values[k]) for name, values in measured.items()}
                if not np.isnan(before).all():
                    dice = _dice(data, index, displacements[k])
                    row |= {"dice": dice, "dice_before": before[index]}
                rows.append(row)
        means = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
        return means | drawn

    return evaluate


def results_of(data: EvaluationData) -> list[str]:
    """The names of what an evaluation on these data gives."""
    pairs = ([data.subjects[index] for index in pair] for pair in data.pairs)
    labelled = data.label_table is not None and any(
        all(subject.labels is not None for subject in pair) for pair in pairs
    )
    names = ["lncc", "folding_percent"]
    names += ["dice", "dice_before"] if labelled else []
    return names + (["error_voxels"] if data.truth is not None else [])


def _measure(register: Register) -> Callable[[Any, dict[str, Array]], Any]:
    """(params, pair) -> (results, fields to draw and to score by)."""

    def measure(params: Any, pair: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        fixed, moving = pair["fixed"], pair["moving"]
        registration = register(params, fixed, moving)
        displacement = registration.displacement
        warped = warp(moving, displacement)
        inside = fixed[..., 0] != 0
        folded = (jacobian_determinant(displacement) <= 0) & inside
        result = {
            "lncc": lncc(fixed, warped, mask=brain_mask(fixed, warped)),
            "folding_percent": 100 * folded.sum() / jnp.maximum(inside.sum(), 1),
        }
        if "truth" in pair:
            error = jnp.linalg.norm(displacement - pair["truth"], axis=-1)
            result["error_voxels"] = (error * inside).sum() / jnp.maximum(inside.sum(), 1)
        force = summed_force(registration, fixed.shape[:3])
        return result, {"displacement": displacement, "warped": warped, "force": force}

    return measure


def _on_mesh(register: Register, mesh: Mesh) -> Callable[[Any, Any], Any]:
    everywhere = NamedSharding(mesh, PartitionSpec())
    compiled = jax.jit(_measure(register), out_shardings=everywhere)

    def place(leaf: np.ndarray) -> jax.Array:
        spec = slabs(leaf.ndim) if is_split(leaf.shape) else PartitionSpec()
        # The same values in every process.
        return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), leaf, leaf.shape)

    def one(params: Any, batch: dict[str, np.ndarray]) -> Any:
        with jax.set_mesh(mesh):
            pair = {name: place(leaf[0]) for name, leaf in batch.items()}
            return jax.tree.map(lambda leaf: np.asarray(leaf)[None], compiled(params, pair))

    return one


def _on_devices(register: Register, devices: Sequence[Any]) -> Callable[[Any, Any], Any]:
    measure = _measure(register)
    if len(devices) > 1:
        return jax.pmap(measure, in_axes=(None, 0), devices=devices)

    def one(params: Any, batch: dict[str, Array]) -> Any:
        return jax.tree.map(
            lambda leaf: leaf[None],
            measure(params, {name: leaf[0] for name, leaf in batch.items()}),
        )

    return jax.jit(one)


def _pair(data: EvaluationData, index: int) -> dict[str, np.ndarray]:
    fixed, moving = (data.subjects[subject] for subject in data.pairs[index])
    pair: dict[str, np.ndarray] = {
        "fixed": np.asarray(fixed.image, np.float32)[..., None],
        "moving": np.asarray(moving.image, np.float32)[..., None],
    }
    if data.truth is not None:
        pair["truth"] = np.asarray(data.truth[index], np.float32)
    return pair


def _stack(pairs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([pair[name] for pair in pairs]) for name in pairs[0]}


def _dice(data: EvaluationData, index: int, displacement: np.ndarray) -> float:
    """Mean Dice of a pair; NaN where a label map is missing, or which labels count."""
    fixed, moving = (data.subjects[subject] for subject in data.pairs[index])
    if fixed.labels is None or moving.labels is None or data.label_table is None:
        return float("nan")
    return overlap(fixed, moving, displacement, data.label_table.values)
