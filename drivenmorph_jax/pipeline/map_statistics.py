"""How large and how regular a registration's map is, in numbers for the summary."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from drivenmorph_jax.images import Volume
from drivenmorph_jax.objective.metrics import folding_percent, ndv_percent, sdlogj
from drivenmorph_jax.pipeline.derived_fields import Fields
from drivenmorph_jax.pipeline.inverse_map import Consistency, Distances
from drivenmorph_jax.pipeline.registration import Registered

EXTREMES = (0.1, 99.9)
"""Percentiles of the local changes of volume: a thousandth is left out on either side."""

# Planes handled at once: NDV keeps some twenty fields of float64.
_PLANES = 16


def deformation_statistics(registered: Registered) -> dict[str, Any]:
    """Of the deformable part, on the working grid."""
    working = registered.working
    displacement = np.asarray(registered.deformable.displacement)
    brain = working.fixed != 0
    spacing = np.linalg.norm(working.grid.affine[:3, :3], axis=0)
    lengths = np.linalg.norm(displacement * spacing, axis=-1)[brain]
    return {
        "of": "the deformable part on the working grid, inside the fixed brain (sdlogj: all of it)",
        "working_grid": {"shape": list(working.grid.shape), "spacing_mm": spacing.tolist()},
        "folding_percent": folding_percent(displacement, mask=brain),
        "ndv_percent": ndv_percent(displacement, mask=brain),
        "sdlogj": sdlogj(displacement),
        "largest_displacement_mm": float(lengths.max()),
        "mean_displacement_mm": float(lengths.mean()),
    }


def whole_map_statistics(registered: Registered, fields: Fields, fixed: Volume) -> dict[str, Any]:
    """Of the map as it is written, on the fixed image's own grid.

    Learn2Reg's SDlogJ adds 3 to every determinant, so that an affine would change it: the
    deviation of log(det) itself, which no affine changes, stands here in its place.
    """
    brain = fixed.data != 0
    lengths = np.linalg.norm(registered.displacement[brain], axis=-1)
    jacobian = fields.jacobian[brain].astype(np.float64)
    logarithms = np.log(jacobian[jacobian > 0])
    low, high = np.percentile(jacobian, EXTREMES)
    return {
        "of": "the whole map, affine included, on the fixed image's grid, inside its brain",
        "folding_percent": float(100 * (jacobian <= 0).mean()),
        "ndv_percent": ndv_percent_on_grid(registered.displacement, fixed.affine, brain),
        "sd_log_jacobian": float(logarithms.std()) if len(logarithms) else None,
        "jacobian": {
            f"p{EXTREMES[0]}": float(low),
            "median": float(np.median(jacobian)),
            f"p{EXTREMES[1]}": float(high),
        },
        "largest_displacement_mm": float(lengths.max()),
        "mean_displacement_mm": float(lengths.mean()),
    }


def consistency_statistics(consistency: Consistency) -> dict[str, Any]:
    """Of the map and its inverse."""
    return {
        "of": "distance from where one began, through both fields as they are written: "
        "back_and_there from the moving brain's voxels, through the inverse and the map; "
        "there_and_back from the fixed brain's, through the map and, between voxels, the inverse",
        "there_and_back": _distances(consistency.there_and_back),
        "back_and_there": _distances(consistency.back_and_there),
    }


def ndv_percent_on_grid(
    displacement: Float[ndarray, "x y z 3"],
    affine: Float[ndarray, "4 4"],
    brain: Bool[ndarray, "x y z"],
) -> float:
    """`ndv_percent` of a displacement in mm, a few planes at a time.

    Args:
        displacement: (X, Y, Z, 3) mm, world axes.
        affine: (4, 4), voxels to world mm.
        brain: (X, Y, Z), the voxels that count; at least one.
    """
    corners = np.argwhere(brain)
    box = tuple(
        slice(max(low - 1, 0), high + 2)
        for low, high in zip(corners.min(0), corners.max(0), strict=True)
    )
    displacement, brain = displacement[box], brain[box]
    to_voxels = np.linalg.inv(np.asarray(affine, np.float64)[:3, :3]).T
    total = 0.0
    for start in range(0, len(brain), _PLANES):
        # A plane more on either side, which does not count, for the differences.
        part = slice(max(start - 1, 0), start + _PLANES + 1)
        counted = np.zeros_like(brain[part])
        first = start - part.start
        counted[first : first + _PLANES] = brain[start : start + _PLANES]
        if counted.any():
            percent = ndv_percent(displacement[part] @ to_voxels, mask=counted)
            total += percent * counted.sum()
    return total / brain.sum()


def _distances(found: Distances | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {"mean_mm": found.mean, "p99_mm": found.p99, "largest_mm": found.largest}
