"""Naming structures, and the force of their difference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import Ignored, ModelConfig, init, register
from drivenmorph_jax.model.anatomy import init_anatomy, name_structures, structure_logits
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.model.correlation import correlation_demons
from drivenmorph_jax.model.correlation_parameters import init_correlation, with_correlation
from drivenmorph_jax.model.named import Named, structure_force
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.jacobian import least_corner_volume
from drivenmorph_jax.spatial.sampling import warp

ANATOMY = AnatomyConfig(3, channels=(4, 8))
CFG = ModelConfig(correlation_iterations=(15,), anatomy=ANATOMY)
SHAPE = (20, 18, 22)


@pytest.fixture(scope="module")
def anatomy(perturbed):
    return perturbed(init_anatomy(jax.random.key(0), ANATOMY), size=0.1)


def balls(radius: float) -> Named:
    """One structure, a soft ball of 5 voxels, and one of `radius` a little aside."""
    place = np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2

    def ball(size, aside):
        away = np.sqrt(((place - aside) ** 2).sum(0))
        return jnp.asarray(1 / (1 + np.exp(2 * (away - size))), jnp.float32)[..., None]

    return Named(ball(5.0, 0.0), ball(radius, 0.5), jnp.asarray(3.0))


def test_probabilities_are_of_the_brain_alone(anatomy, brain):
    image = brain(1, (12, 16, 8))
    named = name_structures(anatomy, image, ANATOMY)
    logits = structure_logits(anatomy, image, ANATOMY)
    inside = np.asarray(image)[..., 0] != 0
    assert named.shape == (12, 16, 8, 3) and logits.shape == (12, 16, 8, 4)
    assert np.ptp(named[inside], axis=0).min() > 1e-3
    np.testing.assert_array_equal(named[~inside], 0)
    background = jax.nn.softmax(logits)[..., 0]
    np.testing.assert_allclose(named.sum(-1)[inside], (1 - background)[inside], atol=1e-6)


def test_neither_the_background_nor_the_scale_of_intensities_matters(anatomy, brain):
    # Of a brain that touches its grid, the edge of the grid is seen.
    image = jnp.pad(brain(1, (12, 16, 8)), ((2, 2), (2, 2), (2, 2), (0, 0)))
    padded = jnp.pad(image, ((4, 4), (0, 4), (4, 0), (0, 0)))
    expected = name_structures(anatomy, image, ANATOMY)
    found = name_structures(anatomy, 30 * padded, ANATOMY)
    np.testing.assert_allclose(found[4:-4, :-4, 4:], expected, atol=2e-5)


def test_the_force_is_the_slope_of_the_difference():
    """Against central differences of the sum of squares, in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        images = (jnp.asarray(rng.uniform(size=(6, 7, 8, 3))) for _ in range(2))
        named = Named(*images, jnp.asarray(1.7))
        u, direction = (jnp.asarray(0.3 * rng.normal(size=(6, 7, 8, 3))) for _ in range(2))
        ignored = Ignored(*(jnp.asarray(rng.uniform(size=(6, 7, 8, 1))) for _ in range(2)))

        def difference(step):
            squared = (named.fixed - warp(named.moving, u + step * direction)) ** 2
            # Where images are compared does not move with the field.
            share = (1 - ignored.fixed) * (1 - warp(ignored.moving, u))
            return 1.7 * float(squared.sum()), 1.7 * float((share * squared).sum())

        slopes = (np.array(difference(1e-6)) - np.array(difference(-1e-6))) / 2e-6
        forces = structure_force(named, u), structure_force(named, u, ignored=ignored)
        found = [-float((force * direction).sum()) for force in forces]
        np.testing.assert_allclose(found, slopes, rtol=1e-5)
        assert abs(slopes[0] - slopes[1]) > 0.1 * abs(slopes[0])


def test_what_is_alike_is_left_alone():
    same = balls(5.0).fixed
    named = Named(same, same, jnp.asarray(1.0))
    np.testing.assert_array_equal(structure_force(named, jnp.zeros((*SHAPE, 3))), 0)


@pytest.mark.parametrize("radius", [3.5, 6.5])
def test_structures_meet_where_images_show_nothing(radius):
    """An image of one intensity has no local correlation: what moves it is the anatomy."""
    image = jnp.ones((*SHAPE, 1))
    named, still = balls(radius), jnp.zeros((*SHAPE, 3))

    def run(named):
        params = init_correlation(CFG)
        return correlation_demons(params, image, image, still, CFG, iterations=60, named=named)

    found = jax.jit(run)(named).displacement
    before, after = (jnp.abs(named.fixed - warp(named.moving, u)).sum() for u in (still, found))
    assert after < 0.15 * before
    assert least_corner_volume(found).min() > 0.05
    np.testing.assert_allclose(jax.jit(run)(None).displacement, 0, atol=1e-3)


def test_a_network_names_what_drives_its_last_iterations(tiny, brain):
    cfg = dataclasses.replace(tiny, correlation_iterations=(3,), anatomy=ANATOMY)
    params = init(jax.random.key(0), cfg)
    fixed, moving = (gaussian_smooth(brain(seed, (12, 10, 14)), 0.8) for seed in (1, 2))
    run = jax.jit(register, static_argnums=3)
    found = run(params, fixed, moving, cfg)
    expected = name_structures(params["anatomy"], fixed, ANATOMY)
    np.testing.assert_allclose(found.named.fixed, expected, atol=1e-5)
    other = jax.tree.map(jnp.zeros_like, params["anatomy"])
    unmoved = run({**params, "anatomy": other}, fixed, moving, cfg).displacement
    assert jnp.abs(found.displacement - unmoved).max() > 1e-4
    plain = dataclasses.replace(cfg, anatomy=None)
    assert run(params, fixed, moving, plain).named is None
    for without in ((), (0, 3)):
        alone = dataclasses.replace(cfg, correlation_iterations=without)
        alone_params = with_correlation(params, alone)
        assert run(alone_params, fixed, moving, alone).named is None
    assert jnp.abs(run(params, fixed, fixed, cfg).displacement).max() < 0.02


def test_structures_add_their_force_at_full_resolution_alone(tiny, brain):
    cfg = dataclasses.replace(tiny, correlation_iterations=(2, 3), anatomy=ANATOMY)
    params = init(jax.random.key(0), cfg)
    pair = [gaussian_smooth(brain(seed, (12, 10, 14)), 0.8) for seed in (1, 2)]
    run = jax.jit(register, static_argnums=3)
    found = run(params, *pair, cfg).correlation
    nothing = {**params, "anatomy": jax.tree.map(jnp.zeros_like, params["anatomy"])}
    without = run(nothing, *pair, cfg).correlation
    np.testing.assert_array_equal(found[0].driving_force, without[0].driving_force)
    assert jnp.abs(found[1].driving_force - without[1].driving_force).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"structures": 0}, "structures is 0"),
        ({"channels": ()}, r"channels is \[\]"),
        ({"weight": 0.0}, "weight is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, said):
    with pytest.raises(InputError, match=f"model.anatomy.{said}"):
        dataclasses.replace(ANATOMY, **changes)
