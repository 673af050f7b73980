"""The paired test, and methods on a grid of their own."""

import numpy as np
import pytest
from own_grid import halvings, on_coarser_grid
from paired import as_row, compare
from scipy import stats

from drivenmorph_jax.errors import InputError


def test_the_comparison_is_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.8, 0.02, 20), rng.normal(0.79, 0.02, 20)
    found = compare(one, other)
    paired = stats.ttest_rel(one, other).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [paired.low, paired.high])
    assert found.difference == pytest.approx(one.mean() - other.mean())
    assert found.p == stats.wilcoxon(one, other).pvalue
    assert found.low < found.difference < found.high and found.pairs == 20


def test_exchanged_methods_change_the_sign_alone():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 9))
    found, back = compare(one, other), compare(other, one)
    np.testing.assert_allclose([found.low, found.high], [-back.high, -back.low])
    assert found.p == back.p


def test_without_a_difference_nothing_is_claimed():
    found = compare([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert found.difference == 0 and found.low == found.high == 0 and found.p == 1
    assert as_row("other", found, 2) == "| other | 3 | +0.00 | +0.00 to +0.00 | 1 |"
    assert np.isnan(compare([0.5], [0.4]).low)
    with pytest.raises(ValueError, match="same pairs"):
        compare([0.5, 0.6], [0.5])


def test_how_often_a_grid_is_halved():
    assert halvings((2.0, 2.0, 2.0), (2.0, 2.0, 2.0)) == 0
    assert halvings((1.0, 1.0, 1.0), (2.0, 2.0, 2.0)) == 1
    assert halvings((0.5, 0.5, 0.5), [2.0, 2.0, 2.0]) == 2
    for spacing in ((2.0, 2.0, 1.0), (1.5, 1.5, 1.5), (4.0, 4.0, 4.0)):
        with pytest.raises(InputError, match="does not reach"):
            halvings(spacing, (2.0, 2.0, 2.0))


def test_a_method_on_its_own_grid_sees_the_halved_images_and_answers_in_our_voxels():
    seen = []

    def run(fixed, moving):
        seen.append((fixed, moving))
        return np.broadcast_to(np.float32([1, 2, 3]), (*fixed.shape, 3)), 5.0

    fixed = np.arange(8 * 6 * 7, dtype=np.float32).reshape(8, 6, 7)
    displacement, seconds = on_coarser_grid(run, 1)(fixed, 2 * fixed)
    assert seen[0][0].shape == (4, 3, 4)
    assert seen[0][0][1, 1, 1] == fixed[2:4, 2:4, 2:4].mean()
    np.testing.assert_allclose(seen[0][1], 2 * seen[0][0])
    assert displacement.shape == (8, 6, 7, 3)
    np.testing.assert_allclose(displacement, np.broadcast_to([2, 4, 6], displacement.shape))
    assert seconds > 5
    assert on_coarser_grid(run, 0) is run

    def finish(fixed, moving, found):
        assert found.shape == (4, 3, 4, 3) and moving.shape == (8, 6, 7)
        return fixed[..., None] + found.mean((0, 1, 2))

    finished, _ = on_coarser_grid(run, 1, finish)(fixed, 2 * fixed)
    np.testing.assert_allclose(finished, fixed[..., None] + np.float32([1, 2, 3]))
