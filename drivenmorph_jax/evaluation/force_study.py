"""All that is asked of the force of a pair, kept in a file, and the answers over many pairs."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.evaluation.bootstrap import bootstrap_interval
from drivenmorph_jax.evaluation.causal import (
    Removal,
    Solve,
    changed,
    choose_centres,
    left,
    profile,
    remove_force,
    returned,
)
from drivenmorph_jax.evaluation.explain import (
    LevelSample,
    level_fields,
    level_statistics,
    sample_level,
)
from drivenmorph_jax.evaluation.figure import total_force
from drivenmorph_jax.evaluation.residual import ResidualSample, residual_curve, sample_residual
from drivenmorph_jax.evaluation.scaling import scaled, warped
from drivenmorph_jax.model.result import Registration
from drivenmorph_jax.writing import write_atomically

RADII = (16.0, 24.0, 40.0)
"""Of the balls that the force is removed in, mm."""

CENTRES = 2
"""Places of the balls in a brain."""

BEYOND = (4.0, 8.0, 16.0, 32.0)
"""Distances from a ball's surface at which the change is told, mm."""

_VECTORS = ("force", "increment", "displacement")
_ACROSS = np.array([-1.0, 1.0, 1.0], np.float32)


class PairForce(NamedTuple):
    """What a pair tells of its force.

    Attributes:
      levels: coarse to fine.
      residual: of the full grid.
      removals: a ball each.
    """

    levels: list[LevelSample]
    residual: ResidualSample
    removals: list[Removal]


class Images(NamedTuple):
    """A pair on one grid, and mm per voxel."""

    fixed: Float[ndarray, "d h w"]
    moving: Float[ndarray, "d h w"]
    spacing: tuple[float, float, float]


def study_pair(
    solve: Solve,
    pair: Images,
    *,
    registration: Registration | None = None,
    radii: Sequence[float] = RADII,
    centres: int = CENTRES,
    progress: Callable[[str], None] = print,
) -> PairForce:
    """Register a pair, sample its force, and register it again without the force of some balls.

    Args:
      solve: see `with_all_force`.
      pair: the images.
      registration: of the pair by `solve`, where it is there already.
      radii: mm, each at every centre.
      centres: how many, chosen by `choose_centres`.
      progress: told of each ball.
    """
    fixed, moving, spacing = pair
    found = registration or solve(fixed, moving, None)
    displacement = np.asarray(found.displacement)
    removals = []
    places = choose_centres(fixed != 0, spacing, centres)
    for centre in places:
        for radius in radii:
            removal, _ = remove_force(
                solve, fixed, moving, displacement, spacing=spacing, centre=centre, radius=radius
            )
            removals.append(removal)
            progress(f"force removed in {len(removals)} of {len(places) * len(radii)} balls")
    fields = level_fields(found, fixed[..., None])
    return PairForce(
        [sample_level(level) for level in fields],
        _residual(pair, found, displacement),
        removals,
    )


def mirrored_pair(registration: Registration, pair: Images) -> PairForce:
    """The same force and motion mirrored left to right: the control where there is no other pair.

    Brains are nearly symmetric: it keeps whatever a force has to do with where in a brain it is.
    """
    fixed, spacing = pair.fixed, pair.spacing
    levels = []
    for level in level_fields(registration, fixed[..., None]):
        flipped = {name: np.asarray(level[name])[::-1] for name in ("inside", *_VECTORS)}
        flipped |= {name: flipped[name] * _ACROSS for name in _VECTORS}
        levels.append(sample_level({**level, **flipped}))
    force = total_force(registration, fixed.shape, spacing)[::-1] * _ACROSS
    flat = fixed[::-1]
    return PairForce(levels, sample_residual(flat, flat, flat, force), [])


def save_pair(path: str | os.PathLike, pair: PairForce) -> None:
    """One .npz; it appears whole or not at all.

    Raises:
      InputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {f"residual.{k}": v for k, v in pair.residual._asdict().items()}
    for place, level in enumerate(pair.levels):
        arrays |= {f"level{place}.{k}": np.asarray(v) for k, v in level._asdict().items()}
    for name in Removal._fields:
        arrays[f"removals.{name}"] = np.array([getattr(r, name) for r in pair.removals])
    single = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in arrays.items()}
    write_atomically(path, lambda temporary: np.savez_compressed(temporary, **single))


def load_pair(path: str | os.PathLike) -> PairForce:
    """What `save_pair` wrote."""
    with np.load(Path(path), allow_pickle=False) as content:
        count = sum(name.endswith(".attention_share") for name in content.files)
        levels = []
        for place in range(count):
            parts = {name: content[f"level{place}.{name}"] for name in LevelSample._fields}
            parts["level"] = int(parts["level"])
            parts["attention_share"] = float(parts["attention_share"])
            levels.append(LevelSample(**parts))
        residual = ResidualSample(*(content[f"residual.{n}"] for n in ResidualSample._fields))
        columns = (content[f"removals.{name}"] for name in Removal._fields)
        removals = [
            Removal((int(c[0]), int(c[1]), int(c[2])), float(radius), sums)
            for c, radius, sums in zip(*columns, strict=True)
        ]
    return PairForce(levels, residual, removals)


def summarise_force(
    pairs: Sequence[PairForce], controls: Sequence[PairForce | None], *, smoothing: float
) -> dict[str, Any]:
    """Every statistic with its 95 % bootstrap interval over the pairs.

    Args:
      pairs: what was studied.
      controls: for each, another pair whose force is unrelated; None where there is none.
      smoothing: mm, the widest smoothing of the layer (`smoothing_width`).

    Returns:
      Plain values: `pairs`, `levels`, `residual`, `removal`.
    """
    return {
        "pairs": len(pairs),
        "levels": _levels(pairs, controls),
        "residual": {
            "force_of_the_pair": _residuals(pairs, pairs),
            "force_of_another": _residuals(pairs, controls),
        },
        "removal": _removals(pairs, smoothing),
    }


def _residual(pair: Images, registration: Registration, displacement) -> ResidualSample:
    fixed, moving = scaled(pair.fixed), scaled(pair.moving)
    force = total_force(registration, pair.fixed.shape, pair.spacing)
    return sample_residual(fixed, moving, warped(moving, displacement), force)


def _levels(pairs, controls) -> dict[str, Any]:
    result = {}
    for place, first in enumerate(pairs[0].levels):
        rows = [
            level_statistics(own.levels[place], other and other.levels[place])
            for own, other in zip(pairs, controls, strict=True)
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        result[f"level_{first.level}"] = {
            name: bootstrap_interval([row[name] for row in rows if name in row]) for name in names
        }
    return result


def _residuals(pairs, orders) -> dict[str, list[dict[str, float]]]:
    """Of each tenth of the brain: before, after, and the share that is left."""
    curves = [
        residual_curve(own.residual, order.residual)
        for own, order in zip(pairs, orders, strict=True)
        if order is not None
    ]
    if not curves:
        return {}
    table = {name: np.array([curve[name] for curve in curves]) for name in curves[0]}
    table["left"] = table["after"] / table["before"]
    return {name: [bootstrap_interval(column) for column in v.T] for name, v in table.items()}


def _removals(pairs, smoothing: float) -> dict[str, Any]:
    radii = sorted({removal.radius for pair in pairs for removal in pair.removals})
    by_radius = {}
    for radius in radii:
        sets = [[r for r in pair.removals if r.radius == radius] for pair in pairs]
        by_radius[f"{radius:g}"] = _removal(sets, radius, smoothing)
    return {"smoothing_mm": smoothing, "radii_mm": by_radius}


def _removal(sets: Sequence[Sequence[Removal]], radius: float, smoothing: float) -> dict[str, Any]:
    half = radius / 2
    values = {
        "returned": [returned(removals) for removals in sets],
        "returned_in_the_inner_half": [returned(removals, deeper=half) for removals in sets],
        "returned_deeper_than_8_mm": [returned(removals, deeper=8.0) for removals in sets],
        "left": [left(removals) for removals in sets],
        "left_in_the_inner_half": [left(removals, deeper=half) for removals in sets],
    }
    for distance in BEYOND:
        values[f"changed_beyond_{distance:g}_mm"] = [changed(s, beyond=distance) for s in sets]
    values["changed_beyond_3_widths"] = [changed(s, beyond=3 * smoothing) for s in sets]
    profiles = [profile(removals) for removals in sets]
    return {name: bootstrap_interval(v) for name, v in values.items()} | {
        f"{name}_by_distance": [
            bootstrap_interval(column) for column in np.array([p[name] for p in profiles]).T
        ]
        for name in ("returned", "changed")
    }
