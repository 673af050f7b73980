"""A causal test of the force: it is taken away in a ball, at every level, and the pair registered
again. Is the ball left unregistered, and only the ball?

With F, M scaled alike, u the displacement and u⁻ the one without the force in the ball R:

    returned = Σ_R (|F − M∘φ⁻|² − |F − M∘φ|²) / Σ_R (|F − M|² − |F − M∘φ|²)
    changed  = ‖u⁻ − u‖ / ‖u‖  over the brain farther than some distance outside R
    left     = ‖u⁻‖ / ‖u‖      over R

`returned` is 1 where all of the difference that the registration removed is back. Nothing pulls in
R, but the map stays smooth: what surrounds R drags its rim along, as far as the smoothing reaches.
So all three are kept by the distance from R's surface, negative inside.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from drivenmorph_jax.evaluation.scaling import scaled, warped
from drivenmorph_jax.model.ignored import Ignored
from drivenmorph_jax.model.result import Registration

Solve = Callable[[Float[ndarray, "d h w"], Float[ndarray, "d h w"], Ignored | None], Registration]

EDGES = np.arange(-48.0, 201.0, 4.0)
"""Of the bins of distance, mm; the outermost two hold what lies beyond them as well."""

# The mean over the fine voxels of a coarse one is above 1 if any of them has it.
_ANY_PART = 1e6
_QUANTITIES = ("before", "full", "removed", "change", "displacement", "left")


class Removal(NamedTuple):
    """What became of a pair without the force in a ball.

    Attributes:
      centre: of the ball, voxels.
      radius: mm.
      sums: (len(EDGES) - 1, 6), over the fixed brain's voxels at each distance from the surface:
        |F − M|², |F − M∘φ|², |F − M∘φ⁻|², ‖u⁻ − u‖², ‖u‖², ‖u⁻‖² (mm²).
    """

    centre: tuple[int, int, int]
    radius: float
    sums: Float[ndarray, "n 6"]


def choose_centres(
    brain: Bool[ndarray, "d h w"], spacing: Sequence[float], count: int
) -> list[tuple[int, int, int]]:
    """Places deep in a brain and far from each other; the first is drawn, with a fixed seed.

    Deep: at least half as far from the background as the deepest voxel, so that a ball is mostly
    brain.
    """
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(brain, 1), sampling=spacing))
    depth = depth[1:-1, 1:-1, 1:-1]
    places = np.argwhere(depth >= max(0.5 * depth.max(), 1e-6))
    points = places * np.asarray(spacing)
    chosen = [int(np.random.default_rng(0).integers(len(points)))]
    while len(chosen) < count:
        nearest = np.min([np.linalg.norm(points - points[i], axis=1) for i in chosen], axis=0)
        chosen.append(int(nearest.argmax()))
    return [(int(x), int(y), int(z)) for x, y, z in places[chosen]]


def distance_from_ball(
    shape: Sequence[int], spacing: Sequence[float], centre: Sequence[int], radius: float
) -> Float[ndarray, "d h w"]:
    """Of every voxel from a ball's surface, mm, negative inside."""
    grids = np.meshgrid(
        *((np.arange(n) - c) * s for n, c, s in zip(shape, centre, spacing, strict=True)),
        indexing="ij",
    )
    return np.sqrt(sum(grid**2 for grid in grids)) - radius


def without_force(distance: Float[ndarray, "d h w"]) -> Ignored:
    """The region inside a surface, and at every coarser level each voxel that touches it.

    A coarse voxel acts on all that it covers: left with the share of its force that lies outside,
    it would still pull inside.
    """
    share = np.where(distance <= 0, _ANY_PART, 0).astype(np.float32)[..., None]
    return Ignored(jnp.asarray(share), jnp.zeros_like(share))


def with_all_force(solve: Solve) -> Solve:
    """A `solve` that is compiled once, for pairs with and without a region to ignore."""

    def masked(fixed, moving, ignored) -> Registration:
        if ignored is None:
            nothing = jnp.zeros((*fixed.shape, 1), jnp.float32)
            ignored = Ignored(nothing, nothing)
        return solve(fixed, moving, ignored)

    return masked


def remove_force(
    solve: Solve,
    fixed: Float[ndarray, "d h w"],
    moving: Float[ndarray, "d h w"],
    displacement: Float[ndarray, "d h w 3"],
    *,
    spacing: Sequence[float],
    centre: tuple[int, int, int],
    radius: float,
) -> tuple[Removal, Float[ndarray, "d h w 3"]]:
    """Register again without the force in a ball.

    Args:
      solve: as in `pipeline.Method`.
      fixed, moving: background 0.
      displacement: what `solve` gives with all force, voxels.
      spacing: mm.
      centre: of the ball, voxels.
      radius: mm.

    Returns:
      The sums, and the displacement without the ball's force, voxels.
    """
    distance = distance_from_ball(fixed.shape, spacing, centre, radius)
    ignored = without_force(distance)
    reduced = np.asarray(solve(fixed, moving, ignored).displacement)
    target, source = scaled(fixed), scaled(moving)
    millimetres = np.asarray(spacing, np.float32)
    full = np.asarray(displacement)
    columns = [
        (target - source) ** 2,
        (target - warped(source, full)) ** 2,
        (target - warped(source, reduced)) ** 2,
        *(((vectors * millimetres) ** 2).sum(-1) for vectors in (reduced - full, full, reduced)),
    ]
    brain = fixed != 0
    bins = len(EDGES) - 1
    place = np.clip(np.digitize(distance[brain], EDGES) - 1, 0, bins - 1)
    sums = [np.bincount(place, column[brain], minlength=bins) for column in columns]
    return Removal(centre, radius, np.stack(sums, axis=-1)), reduced


def returned(removals: Sequence[Removal], *, deeper: float = 0.0) -> float:
    """Share of the removed difference that is back, more than `deeper` mm inside, all together."""
    sums = _sums(removals, EDGES[1:] <= -deeper)
    gain = sums["before"] - sums["full"]
    return (sums["removed"] - sums["full"]) / gain if gain > 0 else float("nan")


def left(removals: Sequence[Removal], *, deeper: float = 0.0) -> float:
    """Length of the displacement without the force over that with it, inside."""
    sums = _sums(removals, EDGES[1:] <= -deeper)
    return _root_ratio(sums["left"], sums["displacement"])


def changed(removals: Sequence[Removal], *, beyond: float) -> float:
    """Length of the displacement's change over its own, in the bins that begin `beyond` mm outside
    or farther; NaN where the brain does not reach so far."""
    sums = _sums(removals, EDGES[:-1] >= beyond)
    return _root_ratio(sums["change"], sums["displacement"])


def profile(removals: Sequence[Removal]) -> dict[str, ndarray]:
    """`returned` and `changed` of each bin of distance by itself; NaN where there is no brain."""
    total = np.sum([removal.sums for removal in removals], axis=0)
    before, full, removed, change, displacement, _ = total.T
    with np.errstate(divide="ignore", invalid="ignore"):
        back = np.where(before > full, (removed - full) / (before - full), np.nan)
        moved = np.where(displacement > 0, np.sqrt(change / displacement), np.nan)
    return {"returned": back, "changed": moved}


def _sums(removals: Sequence[Removal], bins: Bool[ndarray, " n"]) -> dict[str, float]:
    total = np.sum([removal.sums[bins].sum(axis=0) for removal in removals], axis=0)
    return dict(zip(_QUANTITIES, map(float, total), strict=True))


def _root_ratio(a: float, b: float) -> float:
    return float(np.sqrt(a / b)) if b > 0 else float("nan")
