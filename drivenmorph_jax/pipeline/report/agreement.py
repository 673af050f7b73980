"""Does the force point where the tissue goes? Per slice as drawn, and in the whole brain."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

# Fewer voxels of brain say nothing.
_FEWEST_VOXELS = 20


class Agreement(NamedTuple):
    """Force against displacement over some voxels; None where they say nothing.

    Attributes:
        cosine: mean cosine of the angle between the two, where neither is 0.
        correlation: Pearson's, of their lengths.
    """

    cosine: float | None
    correlation: float | None


def agreement(force: Float[ndarray, "n axes"], displacement: Float[ndarray, "n axes"]) -> Agreement:
    """Of vectors at the same voxels."""
    if len(force) < _FEWEST_VOXELS:
        return Agreement(None, None)
    sizes = [np.linalg.norm(v.astype(np.float64), axis=-1) for v in (force, displacement)]
    both = sizes[0] * sizes[1]
    there = both > 0
    cosine = None
    if there.sum() >= _FEWEST_VOXELS:
        products = (force.astype(np.float64) * displacement).sum(-1)[there]
        cosine = _finite((products / both[there]).mean())
    varies = all(np.ptp(size) > 0 for size in sizes)
    return Agreement(cosine, _finite(np.corrcoef(*sizes)[0, 1]) if varies else None)


def agreements(
    force: Float[ndarray, "d h w 3"],
    displacement: Float[ndarray, "d h w 3"],
    brain: Bool[ndarray, "d h w"],
) -> dict[str, Any]:
    """In the whole brain, of the vectors; in each slice across each axis, of their in-plane parts.

    Returns:
        {"brain": Agreement, "slices": [[Agreement of slice 0, …] across axis 0, …]}.
    """
    slices = []
    for axis in range(3):
        plane = [other for other in range(3) if other != axis]
        across = (np.moveaxis(volume, axis, 0) for volume in (force, displacement, brain))
        slices.append(
            [agreement(f[b][:, plane], u[b][:, plane]) for f, u, b in zip(*across, strict=True)]
        )
    return {"brain": agreement(force[brain], displacement[brain]), "slices": slices}


def _finite(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None
