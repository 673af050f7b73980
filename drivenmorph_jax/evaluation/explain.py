"""Does the force explain the deformation? Statistics of both per level, inside the brain.

f is the mean of a level's K driving forces, Δφ the increment that the level adds to the
displacement, u the final displacement; all in voxels of the level. Beside every statistic stands a
control: the force of one pair with the deformation of another that shares no subject with it.

fᵀ(H + λI)⁻¹f >= 0 holds by construction for a raw step. It does not hold so for Δφ and u, which
come after residual, smoothing, composition and all other levels: the statistics are against these.
"""

import copy
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import ndarray
from scipy import stats

from drivenmorph_jax.data.dataset import EvaluationData, IndexPairs
from drivenmorph_jax.evaluation.method import Method
from drivenmorph_jax.model.result import Registration
from drivenmorph_jax.progress import Say
from drivenmorph_jax.spatial.resize import downsample, downsampled_shape, resize_displacement

# Voxels of a level that enter: correlations of more are the same to two digits.
_POINTS = 50_000


class LevelSample(NamedTuple):
    """Force and deformation at some voxels of a level, the same voxels for every pair.

    Attributes:
      level: 0 is the image's own resolution.
      inside: (n,), whether a voxel is in the fixed brain.
      force: (n, 3), f.
      increment: (n, 3), Δφ.
      displacement: (n, 3), u.
      attention_share: ‖gρμ‖ / ‖JᵀWr‖, root mean squares over the grid and the iterations.
    """

    level: int
    inside: Bool[ndarray, " n"]
    force: Float[ndarray, "n 3"]
    increment: Float[ndarray, "n 3"]
    displacement: Float[ndarray, "n 3"]
    attention_share: float


def explain(
    method: Method,
    data: EvaluationData,
    *,
    limit: int | None = None,
    progress: Say = print,
) -> dict[str, dict[str, Any]]:
    """Statistics of every level over the pairs: {"level_1": {"pearson": {"mean": …}, …}, …}.

    Each has a mean, a standard deviation and the half-width of a 95 % confidence interval of the
    mean (Student's t over the pairs); those of the control end in `_control`. `attention_share` is
    no such comparison and has no control.
    """
    pairs = data.pairs[:limit]
    register = jax.jit(method.register)
    samples = []
    for place, (fixed, moving) in enumerate(pairs):
        images = [
            np.asarray(data.subjects[i].image, np.float32)[..., None] for i in (fixed, moving)
        ]
        fields = level_fields(register(method.params, *images), images[0])
        samples.append([sample_level(level) for level in fields])
        progress(f"looked into pair {place + 1} of {len(pairs)}")
    partners = control_partners(pairs)
    result = {}
    for index, first in enumerate(samples[0]):
        rows = []
        for own, partner in zip(samples, partners, strict=True):
            other = None if partner is None else samples[partner][index]
            rows.append(level_statistics(own[index], other))
        result[f"level_{first.level}"] = {
            name: interval([row[name] for row in rows if name in row])
            for name in dict.fromkeys(name for row in rows for name in row)
        }
    return result


@jax.jit
def level_fields(
    registration: Registration, fixed: Float[Array, "d h w 1"]
) -> list[dict[str, Array]]:
    """f, Δφ, u and the brain mask of every level, coarse to fine, on the level's own grid."""
    shape = fixed.shape[:3]
    result, before, before_level = [], None, 0
    for step in registration.levels:
        level = level_of(step.displacement.shape[:3], shape)
        increment = step.displacement
        if before is not None:
            factor = 2.0 ** (before_level - level)
            up = resize_displacement(before, step.displacement.shape[:3], factor=factor)
            increment = increment - up
        final = registration.displacement
        mask = (fixed != 0).astype(final.dtype)
        for _ in range(level):
            final, mask = 0.5 * downsample(final), downsample(mask)
        result.append(
            {
                "level": level,
                "inside": mask[..., 0] >= 0.5,
                "force": step.driving_force.mean(0),
                "increment": increment,
                "displacement": final,
                "attention": (step.attention_force_norm**2).mean(),
                "gradient": (step.gradient_force_norm**2).mean(),
            }
        )
        before, before_level = step.displacement, level
    return result


def level_of(shape: Sequence[int], full: Sequence[int]) -> int:
    """How many halvings lead from the full grid to this one."""
    level, current = 0, tuple(full)
    while current != tuple(shape):
        if max(current) == 1:
            raise ValueError(f"{tuple(full)} cannot be halved to {tuple(shape)}")
        current, level = downsampled_shape(current), level + 1
    return level


def level_statistics(own: LevelSample, other: LevelSample | None) -> dict[str, float]:
    """The statistics of one pair and level; with those of the control where there is another."""
    result = _compare(own, own)
    if other is not None:
        result |= {f"{name}_control": value for name, value in _compare(own, other).items()}
    if math.isfinite(own.attention_share):
        result["attention_share"] = own.attention_share
    return result


def control_partners(pairs: IndexPairs) -> list[int | None]:
    """For every pair, the place of another one, about half the list away, that shares no subject.

    In cyclic pairs the neighbour moves the very subject that stays in this one: its displacement
    is related. None where every other pair shares a subject.
    """
    count = len(pairs)
    partners: list[int | None] = []
    for place, pair in enumerate(pairs):
        offsets = sorted(range(1, count), key=lambda offset: abs(offset - count / 2))
        others = ((place + offset) % count for offset in offsets)
        partners.append(next((o for o in others if not set(pair) & set(pairs[o])), None))
    return partners


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation, and half-width of the 95 % confidence interval of the mean."""
    array = np.asarray(values, np.float64)
    array = array[np.isfinite(array)]
    if not array.size:
        return {}
    result = {"mean": float(array.mean()), "std": float(array.std()), "pairs": int(array.size)}
    if array.size > 1:
        error = array.std(ddof=1) / math.sqrt(array.size)
        result["ci95"] = float(stats.t.ppf(0.975, array.size - 1) * error)
    return result


def without_residual(params: Any) -> Any | None:
    """The parameters with the Demons layer's learned residual taken out, so that it adds nothing.

    None where no level has one.
    """
    levels = params.get("demons", {})
    if not any("residual" in level for level in levels.values()):
        return None
    stripped = copy.copy(params)
    stripped["demons"] = {
        name: {key: value for key, value in level.items() if key != "residual"}
        for name, level in levels.items()
    }
    return stripped


def gain_kept(before: float, full: float, reduced: float) -> float:
    """Share of a gain in Dice that a reduced method keeps; NaN where there is no gain."""
    return (reduced - before) / (full - before) if full > before else float("nan")


def sample_level(fields: dict[str, Any]) -> LevelSample:
    """One level of `level_fields` at its sampled voxels."""
    shape = fields["inside"].shape
    places = sampled_places(math.prod(shape))
    force, increment, displacement = (
        np.asarray(fields[name], np.float64).reshape(-1, 3)[places]
        for name in ("force", "increment", "displacement")
    )
    gradient = float(fields["gradient"])
    share = math.sqrt(float(fields["attention"]) / gradient) if gradient > 0 else float("nan")
    inside = np.asarray(fields["inside"]).reshape(-1)[places]
    return LevelSample(int(fields["level"]), inside, force, increment, displacement, share)


@functools.cache
def sampled_places(size: int) -> ndarray:
    """Flat indices of the voxels that enter on a grid of this size, the same ones every time."""
    if size <= _POINTS:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, _POINTS, replace=False))


def _compare(own: LevelSample, other: LevelSample) -> dict[str, float]:
    """The force of one sample with the deformation of another, inside both brains."""
    inside = own.inside & other.inside
    force, increment = own.force[inside], other.increment[inside]
    size, change = np.linalg.norm(force, axis=-1), np.linalg.norm(increment, axis=-1)
    result = {
        "cosine_final": _cosine(force, other.displacement[inside]),
        "cosine_increment": _cosine(force, increment),
    }
    if len(size) > 2 and np.ptp(size) > 0 and np.ptp(change) > 0:
        result["pearson"] = float(np.corrcoef(size, change)[0, 1])
        result["spearman"] = float(np.corrcoef(stats.rankdata(size), stats.rankdata(change))[0, 1])
    return {name: value for name, value in result.items() if math.isfinite(value)}


def _cosine(a, b) -> float:
    """Mean cosine over the voxels where neither vector is 0."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    there = norms > 1e-20
    return float(((a * b).sum(-1)[there] / norms[there]).mean()) if there.any() else float("nan")
