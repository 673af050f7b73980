"""Metrics of a registration as reported, with the figures of Learn2Reg's evaluation.

NumPy and SciPy, for evaluation. `sdlogj`, `folding_percent` and `ndv_percent` are defined in
`diffeomorphism`; those of labels and landmarks here.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from drivenmorph_jax.objective.diffeomorphism import folding_percent, ndv_percent, sdlogj
from drivenmorph_jax.objective.surface import robust_hausdorff

__all__ = [
    "dice_scores",
    "folding_percent",
    "hd95",
    "mean_score",
    "ndv_percent",
    "sdlogj",
    "target_registration_error",
]


def dice_scores(
    fixed: ArrayLike, warped: ArrayLike, moving: ArrayLike, label_values: Sequence[int]
) -> dict[int, float]:
    """Dice of each label, 2 |A ∩ B| / (|A| + |B|); higher is better.

    A label absent from the fixed or from the *unwarped* moving labels is NaN: it says nothing of
    the registration. One that is in both and that the warp erased is 0.

    Args:
      fixed, warped: (D, H, W) integers on the fixed grid, `warped` by nearest neighbour.
      moving: integers of any shape, before the warp.
      label_values: the labels to score (without the background, as a rule).

    Raises:
      ValueError: fixed and warped differ in shape.
    """
    return _scores(_dice, fixed, warped, moving, label_values)


def hd95(
    fixed: ArrayLike, warped: ArrayLike, moving: ArrayLike, label_values: Sequence[int]
) -> dict[int, float]:
    """95 % robust Hausdorff distance of each label, in voxels (spacing 1); lower is better.

    NaN as for `dice_scores`; inf for a label that the warp erased. See `surface`.
    """
    return _scores(robust_hausdorff, fixed, warped, moving, label_values)


def mean_score(scores: Mapping[int, float]) -> float:
    """Mean over the labels that are not NaN; NaN where all are."""
    values = np.asarray(list(scores.values()), np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def target_registration_error(
    fixed_points: ArrayLike,
    moving_points: ArrayLike,
    displacement: ArrayLike,
    moving_spacing: Sequence[float],
    *,
    order: int = 3,
) -> NDArray[np.float64]:
    """Distance of each mapped landmark from its partner, in mm: |(p + u(p) − q) · spacing|.

    Args:
      fixed_points, moving_points: (N, 3), in voxels of either image, in corresponding rows.
      displacement: (D, H, W, 3), in voxels, on the fixed grid.
      moving_spacing: mm per voxel of the *moving* image, which is where the distance is taken.
      order: of the spline by which u is read at p; 3 is Learn2Reg's, 1 is linear.

    Returns:
      (N,) distances.

    Raises:
      ValueError: the landmarks do not come in pairs.
    """
    fixed_points = np.asarray(fixed_points, np.float64)
    moving_points = np.asarray(moving_points, np.float64)
    if fixed_points.shape != moving_points.shape or fixed_points.shape[-1:] != (3,):
        raise ValueError(
            f"landmarks are (N, 3) pairs, got {fixed_points.shape} and {moving_points.shape}"
        )
    field = np.asarray(displacement, np.float64)
    moved = fixed_points + np.stack(
        [
            ndimage.map_coordinates(field[..., axis], fixed_points.T, order=order)
            for axis in range(3)
        ],
        axis=-1,
    )
    return np.linalg.norm((moved - moving_points) * np.asarray(moving_spacing), axis=-1)


def _scores(
    score: Callable[[NDArray[np.bool_], NDArray[np.bool_]], float],
    fixed,
    warped,
    moving,
    label_values,
) -> dict[int, float]:
    fixed, warped = np.asarray(fixed), np.asarray(warped)
    if fixed.shape != warped.shape:
        raise ValueError(
            f"fixed and warped labels must have one shape, got {fixed.shape} and {warped.shape}"
        )
    present = np.intersect1d(fixed, moving)
    return {
        int(label): score(fixed == label, warped == label) if label in present else float("nan")
        for label in label_values
    }


def _dice(a, b) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
