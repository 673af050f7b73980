"""The numbers that the gates judge move with what they are about."""

from types import SimpleNamespace

import numpy as np
import pytest

from drivenmorph_jax.pipeline.assessment import (
    _of_the_jacobian,
    outline_overlap,
    tissue_correlation,
)
from drivenmorph_jax.pipeline.summary import information_statistics
from drivenmorph_jax.pipeline.working_space import WorkingPair
from tests.pipeline.canned import canned


@pytest.fixture(scope="module")
def pair() -> WorkingPair:
    return canned("oblique", "plain", size=0).registered.working


def test_a_brain_on_itself(pair):
    same = pair._replace(moving=pair.fixed)
    assert outline_overlap(same) == 1
    assert tissue_correlation(same) == pytest.approx(1)


def test_another_contrast_is_seen_and_outlines_are_not_touched_by_it(pair):
    inverted = np.where(pair.fixed != 0, pair.fixed.max() * 1.1 - pair.fixed, 0)
    other = pair._replace(moving=inverted)
    assert outline_overlap(other) == 1
    assert tissue_correlation(other) == pytest.approx(-1)


def test_what_images_of_two_contrasts_share_is_lost_with_the_right_place():
    made = canned("oblique", "plain", size=0).registered
    working = made.working
    inverted = np.where(working.moving != 0, working.moving.max() * 1.1 - working.moving, 0)
    right = made._replace(working=working._replace(moving=inverted.astype(np.float32)))
    found = information_statistics(right)
    affine, after = found["affine"], found["after"]
    assert after == pytest.approx(affine)
    wrong = np.broadcast_to(np.float32([4, 3, 2]), (*working.fixed.shape, 3))
    lost = right._replace(deformable=made.deformable._replace(displacement=wrong))
    found = information_statistics(lost)
    assert found["affine"] == pytest.approx(affine) and found["after"] < affine - 0.1


def test_a_failed_alignment_lowers_both(pair):
    good = outline_overlap(pair), tissue_correlation(pair)
    shifted = pair._replace(moving=np.roll(pair.moving, (6, 5, 4), (0, 1, 2)))
    assert good[0] > 0.85 and good[1] > 0.4
    assert outline_overlap(shifted) < good[0] - 0.15
    assert tissue_correlation(shifted) < good[1] - 0.1


def test_brains_that_hardly_meet_have_no_tissue_in_common(pair):
    apart = np.zeros_like(pair.fixed)
    apart[:3, :3, :3] = 1
    assert tissue_correlation(pair._replace(moving=apart)) is None


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "pass"), (0.005, "warn"), (0.05, "fail")])
def test_folding_is_judged_on_the_scans_own_grid(share, verdict):
    fixed = canned("oblique", "plain", size=0).fixed
    jacobian = np.ones(fixed.shape, np.float32)
    inside = np.argwhere(fixed.data != 0)
    jacobian[tuple(inside[: int(share * len(inside))].T)] = -0.1
    # What lies outside the brain is of no account.
    jacobian[fixed.data == 0] = -1
    fields = SimpleNamespace(deformable_jacobian=jacobian)
    found = {check.name: check.verdict for check in _of_the_jacobian(fixed, fields)}
    assert found["folding"] == verdict
