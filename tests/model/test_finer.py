"""Images twice as fine as the network: what it found is continued on their own grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.model import (
    Ignored,
    ModelConfig,
    finer_iterations,
    init,
    register,
    register_finer,
)
from drivenmorph_jax.model.correlation import correlation_demons
from drivenmorph_jax.model.correlation_parameters import comparison, init_correlation
from drivenmorph_jax.model.finer import FINER_COMPARISON, finer_layer
from drivenmorph_jax.model.smoothing import with_regularity
from drivenmorph_jax.objective.similarity import lncc
from drivenmorph_jax.spatial.fields import compose, exponential
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.jacobian import jacobian_determinant
from drivenmorph_jax.spatial.resize import downsample, resize_displacement, upsample_displacement
from drivenmorph_jax.spatial.sampling import warp

SHAPE = (40, 44, 36)
CFG = ModelConfig(correlation_iterations=(20,))
LAYER = init_correlation(CFG)
PARAMS = {"demons": {"correlation_0": LAYER}}
FINER_LAYER = finer_layer(LAYER, CFG)


@jax.jit
def finer(fixed, moving, displacement, ignored=None):
    return register_finer(PARAMS, fixed, moving, displacement, CFG, ignored=ignored).displacement


@pytest.fixture(scope="module")
def case():
    """A phantom deformed by a wide and a narrow map, the inverse of both, and the wide one's alone
    on the grid of twice the spacing: what a coarse registration finds at best."""
    fixed = jnp.asarray(phantom_pair(0, SHAPE, deformation=0.0).fixed)[..., None]
    wide, narrow = (
        size * noise / jnp.abs(noise).max()
        for size, noise in (
            (2.5, gaussian_smooth(jax.random.normal(jax.random.key(1), (*SHAPE, 3)), 7.0)),
            (0.9, gaussian_smooth(jax.random.normal(jax.random.key(2), (*SHAPE, 3)), 2.0)),
        )
    )
    moving = warp(fixed, compose(exponential(wide), exponential(narrow)))
    true = compose(exponential(-narrow), exponential(-wide))
    half = resize_displacement(exponential(-wide), [size // 2 for size in SHAPE], factor=0.5)
    return fixed, moving, true, half


def test_it_finds_what_the_coarse_grid_cannot_show(case):
    fixed, moving, true, half = case
    inside = np.asarray(fixed)[..., 0] != 0
    found = finer(fixed, moving, half)

    def error(u):
        return np.linalg.norm(u - true, axis=-1)[inside].mean()

    start = upsample_displacement(half, SHAPE)
    # Flat regions show nothing of the narrow map: there it cannot be found.
    assert error(found) < 0.9 * error(start)
    before, after = (lncc(fixed, warp(moving, u), window=9, mask=inside) for u in (start, found))
    assert after < 0.5 * before
    assert jacobian_determinant(found).min() > 0


def test_where_texture_is_to_be_seen_it_finds_more():
    rough, wide, narrow = (
        gaussian_smooth(jax.random.normal(jax.random.key(seed), (*SHAPE, n)), sigma)
        for seed, n, sigma in ((3, 1, 2.5), (1, 3, 7.0), (2, 3, 3.0))
    )
    fixed = jnp.asarray(phantom_pair(0, SHAPE, deformation=0.0).fixed)[..., None] * (1 + 5 * rough)
    wide, narrow = 2.5 * wide / jnp.abs(wide).max(), 1.5 * narrow / jnp.abs(narrow).max()
    moving = warp(fixed, compose(exponential(wide), exponential(narrow)))
    true = compose(exponential(-narrow), exponential(-wide))
    half = resize_displacement(exponential(-wide), [size // 2 for size in SHAPE], factor=0.5)
    inside = np.asarray(fixed)[..., 0] != 0
    before, after = (
        np.linalg.norm(u - true, axis=-1)[inside].mean()
        for u in (upsample_displacement(half, SHAPE), finer(fixed, moving, half))
    )
    assert after < 0.6 * before


def test_what_is_right_already_stays(case):
    fixed, _, _, half = case
    found = finer(fixed, fixed, jnp.zeros_like(half))
    assert jnp.abs(found).max() < 0.02


def test_it_is_the_iterations_from_where_the_coarse_grid_left_off(case):
    fixed, moving, _, half = case

    # Compiled as one, too: where a point passes from voxel to voxel rounding makes the force jump.
    @jax.jit
    def alone(fixed, moving, half):
        start = upsample_displacement(half, SHAPE)
        count = finer_iterations(CFG)
        return correlation_demons(
            FINER_LAYER, fixed, moving, start, CFG, iterations=count, how=FINER_COMPARISON
        ).displacement

    expected = alone(fixed, moving, half)
    np.testing.assert_allclose(finer(fixed, moving, half), expected, atol=1e-4)
    assert jnp.abs(expected - upsample_displacement(half, SHAPE)).max() > 0.2


def test_what_is_ignored_drives_nothing(case):
    """Then what is elastic evens the displacement out, with momentum, near and far, no more."""
    fixed, moving, _, half = case
    everywhere = jnp.ones_like(fixed)
    found = finer(fixed, moving, half, Ignored(everywhere, everywhere))
    start = upsample_displacement(half, SHAPE)
    evened, momentum = start, 0
    for _ in range(finer_iterations(CFG)):
        bent = [ndimage.laplace(evened[..., i], mode="nearest") for i in range(3)]
        momentum = 0.5 * momentum + 0.015 * np.stack(bent, axis=-1)
        step = 0.25 * jnp.asarray(momentum)
        evened = compose(evened, gaussian_smooth(step, 1.0) + 8 * gaussian_smooth(step, 3.0))
    np.testing.assert_allclose(found, evened, atol=1e-4)
    assert jnp.abs(finer(fixed, moving, half) - evened).max() > 0.4


def test_its_constants_are_its_own_and_follow_those_of_the_coarse_grid():
    steps = FINER_COMPARISON.steps_at(0)
    assert steps != comparison(CFG).steps_at(0)
    smoother = finer_layer(with_regularity(PARAMS, 4.0)["demons"]["correlation_0"], CFG)
    factors = {"scale": 1, "fluid_sigma": 2, "broad_sigma": 2, "elasticity": 4}
    assert FINER_LAYER.keys() == smoother.keys() == {f"log_{name}" for name in factors}
    for name, factor in factors.items():
        np.testing.assert_allclose(
            jnp.exp(FINER_LAYER[f"log_{name}"]), getattr(steps, name), rtol=1e-6
        )
        ratio = jnp.exp(smoother[f"log_{name}"] - FINER_LAYER[f"log_{name}"])
        np.testing.assert_allclose(ratio, factor, rtol=1e-6)


def test_what_training_made_of_a_width_it_makes_here():
    trained = LAYER | {"log_broad_sigma": LAYER["log_broad_sigma"] + 0.2}
    changed = finer_layer(trained, CFG)
    wider = changed["log_broad_sigma"] - FINER_LAYER["log_broad_sigma"]
    np.testing.assert_allclose(wider, 0.2, rtol=1e-5)
    assert changed["log_fluid_sigma"] == FINER_LAYER["log_fluid_sigma"]


def test_smoother_by_a_regularity(case):
    fixed, moving, _, half = case

    def spread(regularity):
        params = with_regularity(PARAMS, regularity)
        found = jax.jit(register_finer, static_argnums=4)(params, fixed, moving, half, CFG)
        return float(jnp.log(jacobian_determinant(found.displacement)).std())

    assert spread(4.0) < 0.9 * spread(1.0)


def test_which_architectures_go_on():
    assert finer_iterations(CFG) > 0
    assert finer_iterations(ModelConfig()) == 0
    assert finer_iterations(ModelConfig(correlation_iterations=(0, 5))) == 0
    assert finer_iterations(ModelConfig(sees="mind", correlation_iterations=(10, 40))) == 0
    image = jnp.ones((4, 4, 4, 1))
    with pytest.raises(ValueError, match="does not go on at a finer one"):
        register_finer(PARAMS, image, image, jnp.zeros((2, 2, 2, 3)), ModelConfig())


@pytest.mark.slow
def test_after_the_network_in_one_program_with_a_gradient(case):
    fixed, moving, *_ = case
    cfg = ModelConfig(
        channels=(4,),
        iterations=(1, 1),
        cross_attention=(1,),
        self_attention=(1,),
        correlation_iterations=(2,),
    )
    params = init(jax.random.key(0), cfg)

    @jax.jit
    @jax.grad
    def slope(params):
        small = (downsample(image) for image in (fixed, moving))
        found = register(params, *small, cfg).displacement
        whole = register_finer(params, fixed, moving, found, cfg).displacement
        return ((warp(moving, whole) - fixed) ** 2).mean()

    norms = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(slope(params))]
    assert np.isfinite(norms).all() and max(norms) > 0
