"""Force and step in the world: what a change of axes must not change."""

import numpy as np
import pytest

from drivenmorph_jax.images import Grid
from drivenmorph_jax.model import Registration
from drivenmorph_jax.pipeline.force_fields import force_fields, level_affine
from tests.images.geometries import affine
from tests.pipeline.canned import level, smooth

SHAPE = (21, 16, 18)
WORKING = Grid(SHAPE, affine((2, 2.5, 3), shape=SHAPE, centre=(7, -3, 1)))


def registration(halvings: int) -> Registration:
    return Registration(smooth(SHAPE, 2.0, seed=9), (level(SHAPE, halvings=halvings),))


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_a_coarse_voxel_lies_amid_those_it_covers(halvings):
    shape = tuple(-(-n // 2**halvings) for n in SHAPE)
    coarse = level_affine(WORKING, shape)
    covered = np.stack(np.meshgrid(*[np.arange(2**halvings)] * 3, indexing="ij"), -1)
    covered = covered.reshape(-1, 3) + 2**halvings * np.array([1, 2, 3])
    middle = (covered @ WORKING.affine[:3, :3].T + WORKING.affine[:3, 3]).mean(0)
    np.testing.assert_allclose(coarse[:3, :3] @ [1, 2, 3] + coarse[:3, 3], middle)


def test_a_shape_that_is_no_level_is_refused():
    with pytest.raises(ValueError, match="cannot be halved"):
        level_affine(WORKING, (7, 7, 7))


@pytest.mark.parametrize("halvings", [0, 1])
def test_work_is_the_same_in_any_axes(halvings):
    """f·δ is a number: it knows no axes and no units."""
    made = registration(halvings)
    finest = made.levels[-1]
    onto = Grid(finest.raw_step.shape[1:4], level_affine(WORKING, finest.raw_step.shape[1:4]))
    found = force_fields(made, WORKING, onto)
    work = (finest.driving_force.sum(0) * finest.raw_step[-1]).sum(-1)
    np.testing.assert_allclose(
        (found.driving_force * found.demons_step).sum(-1), work, atol=1e-5 * np.abs(work).max()
    )
    # And each for itself: mm are voxels times the spacing, what counts per mm is divided by it.
    spacing = np.array([2, 2.5, 3]) * 2**halvings
    np.testing.assert_allclose(found.demons_step, finest.raw_step[-1] * spacing, atol=1e-5)
    np.testing.assert_allclose(
        found.driving_force, finest.driving_force.sum(0) / spacing, atol=1e-5
    )


def test_the_grid_that_asks_does_not_matter():
    """Voxels of another grid that coincide with those of the first hold the same vectors."""
    made = registration(0)
    straight = force_fields(made, WORKING, WORKING)
    # Voxel (i, j, k) of the other grid is (last − j, i, k) of the first, with the axes swapped.
    flipped = WORKING.affine @ np.array(
        [[0, -1, 0, SHAPE[0] - 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float
    )
    other = force_fields(made, WORKING, Grid((SHAPE[1], SHAPE[0], SHAPE[2]), flipped))
    for one, two in zip(straight, other, strict=True):
        np.testing.assert_allclose(two.swapaxes(0, 1)[::-1], one, atol=1e-5)


def test_beyond_the_working_grid_there_is_no_force():
    away = WORKING.affine.copy()
    away[:3, 3] += 500
    found = force_fields(registration(1), WORKING, Grid((8, 8, 8), away))
    assert not found.driving_force.any() and not found.demons_step.any()
