import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.named import Named
from drivenmorph_jax.objective.loss import LossConfig
from drivenmorph_jax.pipeline import demons_method, refined_method, refinement
from drivenmorph_jax.pipeline.refinement import RefineConfig, refine, refine_config
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.jacobian import jacobian_determinant, strictest_volume
from drivenmorph_jax.spatial.sampling import warp

LOSS = LossConfig(lncc_window=5, regularity_weight=0.5)
CONFIG = RefineConfig(iterations=12, loss=LOSS, learning_rate=0.1)


@pytest.fixture(scope="module")
def pair():
    made = phantom_pair(3, (24, 28, 24))
    return made.fixed[..., None], made.moving[..., None], made.true_displacement


def error(displacement, pair):
    fixed, _, truth = pair
    inside = fixed[..., 0] != 0
    return np.linalg.norm(np.asarray(displacement) - truth, axis=-1)[inside].mean()


def test_it_brings_the_map_nearer_to_the_truth(pair):
    fixed, moving, truth = pair
    told = []
    found = refine(
        np.zeros_like(truth), fixed, moving, CONFIG, progress=lambda *args: told.append(args)
    )
    assert found.after < 0.9 * found.before
    assert [iteration for iteration, _ in told] == list(range(13))
    assert told[0][1] == found.before and min(value for _, value in told) == found.after
    assert error(found.displacement, pair) < 0.9 * error(0 * truth, pair)


@pytest.mark.parametrize("rate", [1e4, float("nan")])
def test_it_never_ends_worse_than_it_started(pair, rate):
    fixed, moving, truth = pair
    start = jnp.asarray(truth, jnp.float32)
    cfg = dataclasses.replace(CONFIG, learning_rate=rate)
    found = refine(start, fixed, moving, cfg)
    assert found.after <= found.before
    assert (jacobian_determinant(found.displacement) <= 0).sum() <= (
        jacobian_determinant(start) <= 0
    ).sum()
    # Every step was a bad one. Denormal numbers are flushed.
    np.testing.assert_allclose(found.displacement, start, rtol=0, atol=1e-30)


def test_around_what_would_fold_it_rests(monkeypatch):
    """Two brains of noise and next to no regularity: each voxel is pulled its own way."""
    keys = jax.random.split(jax.random.key(3), 3)
    fixed, moving = (
        2 + gaussian_smooth(jax.random.normal(key, (24, 28, 24, 1)), 1.0) for key in keys[:2]
    )
    start = 3 * gaussian_smooth(jax.random.normal(keys[2], (24, 28, 24, 3)), 4.0)
    assert strictest_volume(start).min() > 0
    loss = dataclasses.replace(LOSS, regularity_weight=0.05)
    cfg = dataclasses.replace(CONFIG, iterations=20, loss=loss, smoothing=0.6)
    found = refine(start, fixed, moving, cfg)
    monkeypatch.setattr(refinement, "_unfolded", refinement._refined)
    free = refine(start, fixed, moving, cfg)
    folded = strictest_volume(free.displacement)[..., 0] <= 0
    assert 0.001 < folded.mean() < 0.01
    assert (strictest_volume(found.displacement) <= 0).mean() < 0.05 * folded.mean()
    assert free.after < found.after < (free.before + free.after) / 2
    moved = np.linalg.norm(free.displacement - start, axis=-1)
    missed = np.linalg.norm(free.displacement - found.displacement, axis=-1)
    assert missed[folded].mean() > 0.5 * moved[folded].mean()
    assert np.median(missed) < 0.05 * np.median(moved)


def test_no_iterations_change_nothing(pair):
    fixed, moving, truth = pair
    start = jnp.asarray(truth, jnp.float32)
    found = refine(start, fixed, moving, dataclasses.replace(CONFIG, iterations=0))
    np.testing.assert_allclose(found.displacement, start, rtol=0, atol=1e-30)
    assert found.after == found.before
    with pytest.raises(InputError, match="at least 0"):
        RefineConfig(iterations=-1)


def test_structures_meet_where_images_show_nothing():
    """Images of one intensity: nothing but the structures can be made alike."""
    place = np.indices((20, 20, 20)) - 9.5
    ball = [
        jnp.asarray(1 / (1 + np.exp(2 * (np.sqrt((place**2).sum(0)) - radius))), jnp.float32)
        for radius in (5.0, 6.5)
    ]
    image = jnp.ones((20, 20, 20, 1))
    named = Named(*(b[..., None] for b in ball), jnp.asarray(3.0))
    still = jnp.zeros((20, 20, 20, 3))
    cfg = dataclasses.replace(CONFIG, iterations=30)
    found = refine(still, image, image, cfg, named=named).displacement
    before, after = (jnp.abs(named.fixed - warp(named.moving, u)).sum() for u in (still, found))
    assert after < 0.5 * before
    without = refine(still, image, image, cfg).displacement
    assert jnp.abs(without).max() < 0.05 * jnp.abs(found).max()
    unheeded = dataclasses.replace(cfg, structures=0.0)
    weightless = refine(still, image, image, unheeded, named=named)
    np.testing.assert_allclose(weightless.displacement, without, atol=1e-6)
    weighed = refine(still, image, image, cfg, named=named).before - weightless.before
    twice = dataclasses.replace(cfg, structures=2 * cfg.structures)
    np.testing.assert_allclose(
        refine(still, image, image, twice, named=named).before - weightless.before,
        2 * weighed,
        rtol=1e-5,
    )


def test_a_method_is_refined(pair):
    fixed, moving, _ = pair
    plain = demons_method()
    method = refined_method(plain, CONFIG)
    before, after = (m.solve(fixed[..., 0], moving[..., 0], None) for m in (plain, method))
    assert method.name == "demons, refined"
    assert method.details["refinement"]["iterations"] == 12
    assert error(after.displacement, pair) < error(before.displacement, pair)


@pytest.mark.parametrize(
    ("similarity", "expected"), [("lncc", False), ("mi", True), ("mind", True)]
)
def test_refinement_says_whether_contrasts_may_differ(similarity, expected):
    method = refined_method(demons_method(), refine_config(5, similarity=similarity))
    assert method.any_contrast == expected
