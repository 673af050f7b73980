"""A registration whose volumes are split over devices is that of one device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from drivenmorph_jax.model import init, register, register_finer
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.model.correlation import correlation_demons
from drivenmorph_jax.model.correlation_parameters import init_correlation
from drivenmorph_jax.objective.loss import LossConfig, registration_loss
from drivenmorph_jax.spatial.split import SPACE
from tests.spatial.test_split_compiled import EVERYTHING

SHAPE = (9, 32, 10)


@pytest.fixture(scope="module")
def params(perturbed):
    return perturbed(init(jax.random.key(0), EVERYTHING))


def assert_split_equals_whole(function, params, pair):
    expected = jax.device_get(function(params, *pair))
    mesh = jax.make_mesh((2, 4), ("data", SPACE), (AxisType.Auto, AxisType.Auto))
    split = NamedSharding(mesh, PartitionSpec(None, SPACE))
    with jax.set_mesh(mesh):
        found = function(params, *(jax.device_put(image, split) for image in pair))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))
    return expected


@pytest.mark.slow
def test_displacement(params, brain):
    @jax.jit
    def displacement(params, fixed, moving):
        return register(params, fixed, moving, EVERYTHING).displacement

    pair = [brain(seed, SHAPE) for seed in (1, 2)]
    assert np.abs(assert_split_equals_whole(displacement, params, pair)).max() > 0.1


@pytest.mark.slow
def test_loss_and_gradient(params, brain):
    @jax.jit
    @jax.value_and_grad
    def loss(params, fixed, moving):
        registration = register(params, fixed, moving, EVERYTHING)
        return registration_loss(registration, fixed, moving, LossConfig())[0]

    assert_split_equals_whole(loss, params, [brain(seed, SHAPE) for seed in (1, 2)])


@pytest.mark.slow
def test_structures(brain):
    anatomy = AnatomyConfig(2, channels=(3, 4))
    cfg = dataclasses.replace(EVERYTHING, correlation_iterations=(2,), anatomy=anatomy)
    params = init(jax.random.key(0), cfg)

    @jax.jit
    def driven_by_them(params, fixed, moving):
        found = register(params, fixed, moving, cfg)
        return found.displacement, found.named

    pair = [brain(seed, SHAPE) for seed in (1, 2)]
    displacement, named = assert_split_equals_whole(driven_by_them, params, pair)
    assert np.abs(displacement).max() > 0.1 and np.ptp(named.fixed) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("sees", ["intensity", "mind"])
def test_iterations_of_correlation(sees, brain):
    cfg = dataclasses.replace(EVERYTHING, sees=sees, correlation_iterations=(2, 2))

    @jax.jit
    def both_levels(params, fixed, moving):
        u = jnp.zeros((*fixed.shape[:3], 3))
        for level in (1, 0):
            u = correlation_demons(
                params, fixed, moving, u, cfg, iterations=2, level=level
            ).displacement
        return u

    pair = [brain(seed, SHAPE) for seed in (1, 2)]
    found = assert_split_equals_whole(both_levels, init_correlation(cfg), pair)
    assert np.abs(found).max() > 0.05


@pytest.mark.slow
def test_iterations_on_a_finer_grid(brain):
    cfg = dataclasses.replace(EVERYTHING, correlation_iterations=(2,))
    layer = {"demons": {"correlation_0": init_correlation(cfg)}}
    half = jnp.zeros((5, 16, 5, 3))

    @jax.jit
    def finer(layer, fixed, moving):
        return register_finer(layer, fixed, moving, half, cfg).displacement

    found = assert_split_equals_whole(finer, layer, [brain(seed, SHAPE) for seed in (1, 2)])
    assert np.abs(found).max() > 0.05
