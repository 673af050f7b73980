"""Where the force was large: was the difference large before, and is it small after?"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from drivenmorph_jax.evaluation.explain import sampled_places

BINS = 10
_FEWEST = 1000


class ResidualSample(NamedTuple):
    """Force and difference at some voxels of the full grid, the same voxels for every pair.

    Attributes:
      inside: (n,), whether a voxel is in the fixed brain.
      force: (n,), ‖Σf‖ over all levels and iterations, feature² per mm.
      before: (n,), |F − M|, both scaled to mean square 1 inside their brains.
      after: (n,), |F − M∘φ|.
    """

    inside: Bool[ndarray, " n"]
    force: Float[ndarray, " n"]
    before: Float[ndarray, " n"]
    after: Float[ndarray, " n"]


def sample_residual(
    fixed: Float[ndarray, "d h w"],
    moving: Float[ndarray, "d h w"],
    warped: Float[ndarray, "d h w"],
    force: Float[ndarray, "d h w 3"],
) -> ResidualSample:
    """The voxels that enter, of images scaled alike and the total force of their registration."""
    places = sampled_places(fixed.size)
    return ResidualSample(
        inside=(fixed != 0).reshape(-1)[places],
        force=np.linalg.norm(force, axis=-1).reshape(-1)[places],
        before=np.abs(fixed - moving).reshape(-1)[places],
        after=np.abs(fixed - warped).reshape(-1)[places],
    )


def residual_curve(own: ResidualSample, other: ResidualSample | None = None) -> dict[str, ndarray]:
    """Mean difference `before` and `after`, by tenths of the brain in order of the force.

    Args:
      own: the pair.
      other: whose force orders the voxels, inside both brains; by default the pair's own. With
        the force of an unrelated pair it is the control.

    Returns:
      (BINS,) each, the tenth with the least force first; NaN where too little of both brains is
      sampled.
    """
    other = own if other is None else other
    inside = own.inside & other.inside
    if inside.sum() < _FEWEST // BINS:
        return {name: np.full(BINS, np.nan) for name in ("before", "after")}
    order = np.argsort(other.force[inside], kind="stable")
    return {
        name: np.array([part.mean() for part in np.array_split(values[inside][order], BINS)])
        for name, values in (("before", own.before), ("after", own.after))
    }
