"""The numbers that the gates judge move with what they are about."""

import numpy as np
import pytest

from drivenmorph_jax.pipeline.assessment import outline_overlap, tissue_correlation
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
