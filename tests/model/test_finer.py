"""Images twice as fine as the network: what it found is continued on their own grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.model import (
    Ignored,
    ModelConfig,
    finer_iterations,
    init,
    register,
    register_finer,
)
from drivenmorph_jax.model.correlation import (
    comparison,
    correlation_demons,
    finer_layer,
    init_correlation,
)
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
FINER = finer_layer(LAYER, CFG)


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
        return correlation_demons(FINER, fixed, moving, start, CFG, iterations=count).displacement

    expected = alone(fixed, moving, half)
    np.testing.assert_allclose(finer(fixed, moving, half), expected, atol=1e-4)


def test_what_is_ignored_drives_nothing(case):
    fixed, moving, _, half = case
    everywhere = jnp.ones_like(fixed)
    found = finer(fixed, moving, half, Ignored(everywhere, everywhere))
    # The layer smooths the displacement, no more.
    start = upsample_displacement(half, SHAPE)
    smoothed = start
    for _ in range(finer_iterations(CFG)):
        smoothed = gaussian_smooth(smoothed, jnp.exp(FINER["log_diffusion_sigma"]))
    np.testing.assert_allclose(found, smoothed, atol=1e-4)
    assert jnp.abs(finer(fixed, moving, half) - smoothed).max() > 0.4


def test_its_constants_are_its_own_and_follow_those_of_the_coarse_grid():
    how = comparison(CFG)
    assert how.finer_steps != how.steps_at(0)
    for name, value in how.finer_steps._asdict().items():
        np.testing.assert_allclose(jnp.exp(FINER[f"log_{name}"]), value, rtol=1e-6)
    smoother = finer_layer(with_regularity(PARAMS, 4.0)["demons"]["correlation_0"], CFG)
    for name, factor in (("scale", 1), ("fluid_sigma", 2), ("diffusion_sigma", 2)):
        ratio = jnp.exp(smoother[f"log_{name}"] - FINER[f"log_{name}"])
        np.testing.assert_allclose(ratio, factor, rtol=1e-6)


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
