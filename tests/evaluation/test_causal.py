"""The causal test, on a Demons registration of phantoms."""

import numpy as np
import pytest

from drivenmorph_jax.evaluation.bootstrap import bootstrap_interval
from drivenmorph_jax.evaluation.causal import (
    EDGES,
    Removal,
    changed,
    choose_centres,
    distance_from_ball,
    left,
    profile,
    remove_force,
    returned,
    with_all_force,
    without_force,
)
from drivenmorph_jax.model import ClassicalConfig
from drivenmorph_jax.model.ignored import compared, ignored_pyramid
from drivenmorph_jax.pipeline import demons_method

SPACING = (6.0, 6.0, 6.0)
SOLVE = with_all_force(demons_method(ClassicalConfig(iterations=(4, 6), diffusion_sigma=0.6)).solve)


@pytest.fixture(scope="module")
def pair(phantoms):
    fixed, moving = (np.asarray(phantoms.subjects[i].image, np.float32) for i in (0, 1))
    return fixed, moving, np.asarray(SOLVE(fixed, moving, None).displacement)


def removed(pair, radius):
    centre = choose_centres(pair[0] != 0, SPACING, 1)[0]
    return remove_force(SOLVE, *pair, spacing=SPACING, centre=centre, radius=radius)


def test_without_any_force_nothing_moves(pair):
    removal, displacement = removed(pair, 1000.0)
    assert not displacement.any()
    assert removal.sums[0].any() and not removal.sums[1:].any()  # All is deeper than every bin.


@pytest.mark.parametrize("radius", [8.0, 24.0, 1000.0])
def test_every_voxel_of_the_brain_is_counted(pair, radius):
    fixed, _, displacement = pair
    removal = removed(pair, radius)[0]
    lengths = ((displacement * SPACING) ** 2).sum(-1)[fixed != 0]
    assert removal.sums[:, 4].sum() == pytest.approx(lengths.sum(), rel=1e-5)


def test_a_brain_beyond_the_last_bin_is_in_it(pair):
    far = (-400, -400, -400)
    removal, _ = remove_force(SOLVE, *pair, spacing=SPACING, centre=far, radius=24.0)
    assert removal.sums[-1].any() and not removal.sums[:-1].any()


def test_a_ball_without_force_is_left_and_the_rest_is_not(pair):
    found = [removed(pair, radius)[0] for radius in (24.0, 40.0)]
    assert returned(found) > 0.25 and returned(found, deeper=12) > returned(found)
    assert left(found, deeper=12) < left(found) < 0.7
    assert changed(found, beyond=24) < changed(found, beyond=8) < changed(found, beyond=0) < 0.3
    curve = profile(found)
    assert curve["changed"][EDGES[:-1] == -20] > 3 * curve["changed"][EDGES[:-1] == 20]


def test_a_ball_outside_the_brain_changes_nothing(pair):
    displacement = pair[2]
    removal, reduced = remove_force(
        SOLVE, *pair, spacing=SPACING, centre=(-40, -40, -40), radius=24.0
    )
    np.testing.assert_allclose(reduced, displacement, atol=1e-6)
    assert np.isnan(returned([removal]))


def test_the_figures_are_those_of_their_formulae():
    sums = np.zeros((len(EDGES) - 1, 6))
    inside, outside = np.searchsorted(EDGES, -8.0), np.searchsorted(EDGES, 8.0)
    sums[inside] = 10, 2, 8, 9, 16, 4
    sums[outside] = 10, 2, 2, 1, 100, 100
    removal = Removal((0, 0, 0), 8.0, sums)
    assert returned([removal]) == pytest.approx((8 - 2) / (10 - 2))
    assert left([removal]) == pytest.approx(np.sqrt(4 / 16))
    assert changed([removal], beyond=8) == pytest.approx(np.sqrt(1 / 100))
    assert np.isnan(changed([removal], beyond=16)) and np.isnan(returned([removal], deeper=8))
    assert profile([removal, removal])["returned"][inside] == pytest.approx(0.75)


def test_a_ball_covers_its_voxels_on_grids_of_any_spacing():
    spacing = (1.0, 2.0, 4.0)
    distance = distance_from_ball((21, 21, 21), spacing, (10, 10, 10), 9.0)
    assert distance[10, 10, 10] == -9 and distance[10, 14, 10] == -1 and distance[10, 10, 13] == 3
    ignored = without_force(distance)
    inside = np.asarray(ignored.fixed)[..., 0] > 0
    assert inside.sum() * 8 == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.06)
    np.testing.assert_array_equal(inside, distance <= 0)
    for level, below in enumerate(ignored_pyramid(ignored, 3)):
        kept = np.asarray(compared(below, np.zeros((*below.fixed.shape[:3], 3), np.float32)))
        touched = inside
        for _ in range(level):
            touched = np.pad(touched, [(0, n % 2) for n in touched.shape])
            touched = touched.reshape([m for n in touched.shape for m in (n // 2, 2)]).any(
                (1, 3, 5)
            )
        np.testing.assert_array_equal(kept[..., 0], ~touched)


def test_centres_are_deep_and_apart():
    brain = np.zeros((20, 20, 20), bool)
    brain[2:18, 4:16, 4:16] = True
    centres = np.array(choose_centres(brain, (2.0, 2.0, 2.0), 3))
    assert (centres >= [2 + 2, 4 + 2, 4 + 2]).all() and (centres < [18 - 2, 16 - 2, 16 - 2]).all()
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[np.triu_indices(3, 1)]
    assert gaps.min() > 4
    assert choose_centres(brain, (2.0, 2.0, 2.0), 3) == [tuple(c) for c in centres]


def test_bootstrap_covers_what_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(60):
        found = bootstrap_interval(list(rng.normal(1.0, 1.0, 20)), seed=seed)
        hits += found["low"] <= 1.0 <= found["high"]
    assert 50 <= hits < 60
    assert bootstrap_interval([2.0, float("nan")]) == {"mean": 2.0, "pairs": 1}
    assert bootstrap_interval([]) == {}
