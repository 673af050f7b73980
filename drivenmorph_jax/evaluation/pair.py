"""The score of one registered pair: the same rules for every method, ours or another tool's."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.evaluation.labels import carry_labels
from drivenmorph_jax.objective.metrics import (
    dice_scores,
    folding_percent,
    hd95,
    mean_score,
    ndv_percent,
    sdlogj,
)


class PairScore(NamedTuple):
    """How well a displacement registers a pair; NaN where there is nothing to tell by.

    Attributes:
      dice: mean over the labels present in the fixed and the *unwarped* moving labels, which are
        carried by nearest neighbour, once, onto the fixed subject's own voxels (`carry_labels`); a
        label that the warp erased scores 0.
      dice_before: the same without a displacement.
      hd95: mean over the same labels, in voxels of the fixed subject (spacing 1); for an erased
        one, whose distance is infinite, the diagonal of the box around all fixed labels stands in.
      sdlogj: over the whole grid, as Learn2Reg does it.
      folding_percent, ndv_percent: of the fixed brain, where the whole grid's background would
        water them down.
      seconds: of the registration.
      error_voxels, error_mm: mean distance from the true displacement inside the fixed brain.
      error_voxels_before, error_mm_before: the same of no displacement.
    """

    dice: float
    dice_before: float
    hd95: float
    sdlogj: float
    folding_percent: float
    ndv_percent: float
    seconds: float
    error_voxels: float
    error_voxels_before: float
    error_mm: float
    error_mm_before: float


def score_pair(
    displacement: Float[ndarray, "d h w 3"],
    fixed: Subject,
    moving: Subject,
    label_values: Sequence[int] | None,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    truth: Float[ndarray, "d h w 3"] | None = None,
    seconds: float = float("nan"),
) -> PairScore:
    """Score a displacement.

    Args:
      displacement: voxels of the fixed grid: warped(x) = moving(x + u(x)).
      fixed, moving: on one grid.
      label_values: the labels to score; None for none.
      spacing: mm per voxel along each axis.
      truth: the true displacement, where it is known.
      seconds: what the registration took.
    """
    displacement = np.asarray(displacement, np.float32)
    brain = np.asarray(fixed.image) != 0
    dice = dice_before = distance = float("nan")
    if fixed.labels is not None and moving.labels is not None and label_values is not None:
        target, carried = carry_labels(fixed, moving, displacement)
        compared = (target, carried, moving.labels, label_values)
        dice = mean_score(dice_scores(*compared))
        dice_before = overlap(fixed, moving, 0 * displacement, label_values)
        distances, worst = hd95(*compared), _diagonal(target)
        distance = mean_score({k: worst if np.isinf(d) else d for k, d in distances.items()})
    return PairScore(
        dice=dice,
        dice_before=dice_before,
        hd95=distance,
        sdlogj=sdlogj(displacement),
        folding_percent=folding_percent(displacement, mask=brain),
        ndv_percent=ndv_percent(displacement, mask=brain),
        seconds=seconds,
        error_voxels=_error(displacement, truth, brain, (1.0, 1.0, 1.0)),
        error_voxels_before=_error(0 * displacement, truth, brain, (1.0, 1.0, 1.0)),
        error_mm=_error(displacement, truth, brain, spacing),
        error_mm_before=_error(0 * displacement, truth, brain, spacing),
    )


def overlap(
    fixed: Subject,
    moving: Subject,
    displacement: Float[ndarray, "d h w 3"],
    label_values: Sequence[int],
) -> float:
    """Mean Dice of the labels carried along a displacement, by the rules of `PairScore.dice`."""
    assert moving.labels is not None
    target, carried = carry_labels(fixed, moving, displacement)
    return mean_score(dice_scores(target, carried, moving.labels, label_values))


def _diagonal(labels) -> float:
    occupied = np.argwhere(labels > 0)
    return float(np.linalg.norm(np.ptp(occupied, axis=0) + 1)) if len(occupied) else float("nan")


def _error(displacement, truth, brain, spacing) -> float:
    if truth is None or not brain.any():
        return float("nan")
    difference = (np.asarray(displacement) - truth) * np.asarray(spacing, np.float32)
    return float(np.linalg.norm(difference[brain], axis=-1).mean())
