import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import (
    ClassicalConfig,
    Ignored,
    ModelConfig,
    classical_demons,
    init_demons,
)
from drivenmorph_jax.model.correlation import correlation_demons
from drivenmorph_jax.model.correlation_parameters import comparison, init_correlation
from drivenmorph_jax.model.smoothing import (
    LevelSmoothing,
    classical_smoothing,
    classical_with_regularity,
    network_smoothing,
    smoothing_width,
    with_regularity,
)
from drivenmorph_jax.objective.metrics import sdlogj
from drivenmorph_jax.pipeline import load_pretrained
from drivenmorph_jax.spatial.filters import gaussian_smooth

MODEL = ModelConfig(
    channels=(8,), iterations=(1, 2), cross_attention=(), self_attention=(), residual_channels=(0,)
)
CLASSICAL = ClassicalConfig(iterations=(4, 6), fluid_sigma=0.6, diffusion_sigma=1.0)


@pytest.fixture(scope="module")
def params():
    layers = {
        f"level_{level}": init_demons(jax.random.key(level), residual_channels=4 * level)
        for level in (0, 1)
    }
    return {"encoder": {}, "difference": {}, "demons": layers}


def test_regularity_scales_the_variance_of_every_gaussian_and_nothing_else(params):
    smoother = with_regularity(params, 4.0)
    before, after = network_smoothing(params, MODEL), network_smoothing(smoother, MODEL)
    for old, new in zip(before, after, strict=True):
        assert new.fluid == pytest.approx(2 * old.fluid)
        assert new.diffusion == pytest.approx(2 * old.diffusion)
    differing = jax.tree.map(lambda a, b: bool((a != b).any()), params, smoother)
    names = {
        path[-1].key for path, differs in jax.tree_util.tree_leaves_with_path(differing) if differs
    }
    assert names == {"log_fluid_sigma", "log_diffusion_sigma"}


@pytest.mark.parametrize("name", ["brain-t1", "brain-t1-labels", "brain-any"])
def test_every_part_of_released_weights_keeps_its_place(name):
    found = load_pretrained(name)
    smoother = with_regularity(found.params, 4.0)
    ratios = jax.tree.map(lambda a, b: np.exp(np.asarray(b - a)), found.params, smoother)
    layers = ratios["demons"]
    for part, ratio in jax.tree_util.tree_leaves_with_path(ratios):
        expected = {"log_elasticity": 4}.get(part[-1].key, 2 if "sigma" in part[-1].key else 1)
        np.testing.assert_allclose(ratio, expected, rtol=1e-5)
    assert "residual" in layers["level_3"] and "log_fluid_sigma" in layers["correlation_0"]
    assert network_smoothing(smoother, found.config) != network_smoothing(
        found.params, found.config
    )


def test_one_is_as_trained(params):
    jax.tree.map(np.testing.assert_array_equal, with_regularity(params, 1.0), params)
    assert classical_with_regularity(CLASSICAL, 1.0) == CLASSICAL


@pytest.mark.parametrize("regularity", [0.0, -1.0, float("nan"), float("inf")])
def test_a_regularity_is_above_zero(regularity, params):
    with pytest.raises(InputError, match="above 0"):
        with_regularity(params, regularity)
    with pytest.raises(InputError, match="above 0"):
        classical_with_regularity(CLASSICAL, regularity)


@pytest.mark.slow
def test_more_regularity_is_a_smoother_map():
    spreads = []
    run = jax.jit(classical_demons, static_argnums=2)
    pair = phantom_pair(5, (20, 24, 20))
    images = pair.fixed[..., None], pair.moving[..., None]
    for regularity in (0.25, 1.0, 4.0):
        found = run(*images, classical_with_regularity(CLASSICAL, regularity))
        spreads.append(sdlogj(np.asarray(found.displacement)))
    assert spreads[0] > 1.1 * spreads[1] > 1.21 * spreads[2]


def test_the_width_is_that_of_a_point_smoothed_as_often():
    levels = [LevelSmoothing(0, 1.5, 1.0, 3)]
    point = jnp.zeros((33, 33, 33, 1)).at[16, 16, 16].set(1.0)
    for sigma in (1.5, 1.0, 1.0, 1.0):
        point = gaussian_smooth(point, sigma)
    profile = np.asarray(point[..., 0].sum((1, 2)))
    variance = (profile * (np.arange(33) - 16) ** 2).sum() / profile.sum()
    assert smoothing_width(levels) == pytest.approx(np.sqrt(variance), rel=0.01)


def test_coarse_levels_count_in_fine_voxels_and_pass_the_finer_ones():
    coarse, fine = LevelSmoothing(1, 1.0, 0.5, 2), LevelSmoothing(0, 1.0, 0.5, 4)
    assert smoothing_width([coarse, fine]) == pytest.approx(np.sqrt(4 + 2 * 1 + 4 * 0.25))
    # In the order in which they run: what comes before a level does not smooth its force.
    assert smoothing_width([fine, coarse]) == pytest.approx(np.sqrt(4 + 2 * 1))
    assert smoothing_width([]) == 0
    found = classical_smoothing(ClassicalConfig(iterations=(0, 5)))
    assert [level.level for level in found] == [1]


def test_an_elastic_force_counts_as_what_it_smooths(params):
    """Against how far iterations without any other force spread a displacement."""
    cfg = dataclasses.replace(MODEL, correlation_iterations=(30,))
    layer = init_correlation(cfg)
    *_, own = network_smoothing({"demons": {**params["demons"], "correlation_0": layer}}, cfg)
    assert own.fluid == pytest.approx(comparison(cfg).steps_at(0).broad_sigma)
    shape = (45, 31, 31)
    place = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    start = jnp.zeros((*shape, 3)).at[..., 0].set(0.01 * np.exp(-((place**2).sum(-1)) / 18))
    image = jnp.ones((*shape, 1))
    everywhere = Ignored(image, image)
    found = jax.jit(correlation_demons, static_argnums=4, static_argnames="iterations")(
        layer,
        image,
        image,
        start,
        cfg,
        iterations=30,
        ignored=everywhere,
    ).displacement

    def variance(u):
        profile = np.asarray(u[..., 0].sum((1, 2)))
        return (profile * place[:, 0, 0, 0] ** 2).sum() / profile.sum()

    # Momentum takes about one iteration to build up.
    assert variance(found) - variance(start) == pytest.approx(29 * own.diffusion**2, rel=0.03)
