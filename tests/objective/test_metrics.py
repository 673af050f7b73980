"""Scores of labels and landmarks, with the rules on absent ones."""

import math

import numpy as np
import pytest

from drivenmorph_jax.objective.metrics import (
    dice_scores,
    hd95,
    mean_score,
    target_registration_error,
)


def _labels():
    """1 overlaps by a half, 2 is erased by the warp, 3 not in moving, 4 not in fixed, 5 nowhere."""
    fixed = np.zeros((6, 6, 6), np.int32)
    fixed[1:3, 1:5, 1:5] = 1
    fixed[4, 4, 4] = 2
    fixed[5, 0, 0] = 3
    warped = np.zeros_like(fixed)
    warped[2:4, 1:5, 1:5] = 1
    warped[5, 5, 5] = 4
    moving = np.zeros((7, 6, 8), np.int32)
    moving[2:4, 1:5, 1:5] = 1
    moving[0, 0, 0] = 2
    moving[5, 5, 5] = 4
    return fixed, warped, moving


def test_dice_of_present_erased_and_absent_labels():
    scores = dice_scores(*_labels(), [1, 2, 3, 4, 5])
    assert list(scores) == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(list(scores.values()), [0.5, 0, math.nan, math.nan, math.nan])
    np.testing.assert_allclose(mean_score(scores), 0.25)


def test_dice_is_one_for_equal_maps():
    fixed, _, moving = _labels()
    assert dice_scores(fixed, fixed, moving, [1, 2]) == {1: 1.0, 2: 1.0}


def test_hd95_of_present_erased_and_absent_labels():
    scores = hd95(*_labels(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(list(scores.values()), [1, math.inf, math.nan, math.nan, math.nan])


def test_mean_of_nothing_is_nan():
    assert math.isnan(mean_score({1: math.nan}))
    assert math.isnan(mean_score({}))


def test_landmark_error_is_in_the_moving_images_mm():
    displacement = np.zeros((9, 9, 9, 3)) + np.array([1.0, 0.0, -2.0])
    fixed = np.array([[4.0, 4.0, 4.0], [3.0, 5.0, 4.0]])
    moving = fixed + np.array([[1, 0, -2], [1, 3, -1]])
    error = target_registration_error(fixed, moving, displacement, (1.0, 2.0, 0.5))
    np.testing.assert_allclose(error, [0, math.hypot(3 * 2.0, 1 * 0.5)], atol=1e-9)


def test_landmarks_between_voxels_read_the_field_there():
    grid = np.stack(np.meshgrid(*[np.arange(9.0)] * 3, indexing="ij"), -1)
    point = np.array([[3.25, 4.5, 4.0]])
    error = target_registration_error(point, 1.1 * point, 0.1 * grid, (1, 1, 1), order=1)
    np.testing.assert_allclose(error, 0, atol=1e-9)


def test_shapes_that_differ_are_refused():
    fixed, warped, moving = _labels()
    with pytest.raises(ValueError, match="one shape"):
        dice_scores(fixed, moving, moving, [1])
    with pytest.raises(ValueError, match="one shape"):
        hd95(fixed, warped[:1], moving, [1])
    with pytest.raises(ValueError, match="pairs"):
        target_registration_error(
            np.zeros((2, 3)), np.zeros((3, 3)), np.zeros((4, 4, 4, 3)), (1, 1, 1)
        )
