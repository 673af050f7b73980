"""The closed-form step: the classical formula, its bound, its accuracy, over six decades."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivenmorph_jax.model import DemonsConfig, Force, channel_force, demons_step, solve_step
from drivenmorph_jax.model.demons import bounded
from drivenmorph_jax.spatial.filters import gradient

solve = jax.jit(solve_step, static_argnames="eta")
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
VOXELS = 300


def _system(seed, slope, difference, channels, *, weighted=True):
    """J, W, r of random voxels, and their force, in float64."""
    rng = np.random.default_rng(seed)
    jacobian = slope * rng.normal(size=(VOXELS, channels, 3))
    residual = difference * rng.normal(size=(VOXELS, channels))
    weight = rng.uniform(0, 2, size=(VOXELS, channels)) if weighted else np.ones_like(residual)
    force = np.einsum("vci,vc->vi", jacobian, weight * residual)
    metric = np.einsum("vci,vc,vcj->vij", jacobian, weight, jacobian)
    energy = (weight * residual**2).sum(-1)
    return force, metric, energy


def _force(force, metric, energy) -> Force:
    """As the layer takes it, in float32, on a grid of one row."""
    packed = np.stack([metric[:, a, b] for a, b in PAIRS], axis=-1)
    fields = (force, packed, energy[:, None], np.zeros_like(force))
    return Force(*(jnp.asarray(x, jnp.float32)[None, None] for x in fields))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_one_channel_gives_thirions_and_the_symmetric_step(symmetric, alpha):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        fixed, moving = (jnp.asarray(rng.normal(size=(5, 6, 7, 1))) for _ in range(2))
        step = solve(channel_force(fixed, moving, symmetric=symmetric), alpha=alpha, eta=0.0)
        mean = 0.5 * (fixed + moving) if symmetric else fixed
        slope = jnp.concatenate(gradient(mean), axis=-1)
        r = fixed - moving
        expected = r * slope / ((slope**2).sum(-1, keepdims=True) + alpha * r**2)
        np.testing.assert_allclose(step, expected, rtol=1e-9, atol=1e-12)


def test_the_whole_layer_reduces_to_the_formula():
    rng = np.random.default_rng(1)
    fixed, moving = (jnp.asarray(rng.normal(size=(5, 6, 7, 1)), jnp.float32) for _ in range(2))
    params = {
        "log_scale": jnp.zeros(()),
        "log_alpha": jnp.zeros(()),
        "log_epsilon": jnp.array(-jnp.inf),
    }
    force = channel_force(fixed, moving, symmetric=False)
    start = jnp.full((5, 6, 7, 3), 0.25)
    taken = demons_step(params, force, start, DemonsConfig(np.inf, 0, diffeomorphic=False))
    slope, r = jnp.concatenate(gradient(fixed), axis=-1), fixed - moving
    expected = r * slope / ((slope**2).sum(-1, keepdims=True) + r**2)
    # The metric's relative floor, 1e-4 / 3, is what is left of the difference.
    np.testing.assert_allclose(taken.displacement - start, expected, atol=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    slope=st.floats(-3, 3),
    difference=st.floats(-3, 3),
    channels=st.integers(1, 6),
    alpha=st.sampled_from([0.0625, 1.0, 4.0]),
)
def test_a_step_is_bounded_by_alpha(seed, slope, difference, channels, alpha):
    """|δ| <= 1 / (2 √α) for any channels and weights, without attention's part of the force."""
    system = _system(seed, 10.0**slope, 10.0**difference, channels)
    steps = np.linalg.norm(solve(_force(*system), alpha=alpha), axis=-1)
    assert steps.max() <= 0.5 / alpha**0.5 * (1 + 3e-3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**20),
    slope=st.floats(-3, 3),
    difference=st.floats(-3, 3),
    channels=st.integers(1, 6),
    attention=st.sampled_from([0.0, 1.0]),
)
def test_float32_is_accurate(seed, slope, difference, channels, attention):
    force, metric, energy = _system(seed, 10.0**slope, 10.0**difference, channels)
    rng = np.random.default_rng(seed + 1)
    force = force + attention * rng.normal(size=force.shape) * np.abs(force).mean()
    trace = np.trace(metric, axis1=1, axis2=2)
    damping = energy + 1e-4 * trace / 3
    exact = np.linalg.solve(metric + damping[:, None, None] * np.eye(3), force[..., None])[..., 0]
    got = np.asarray(solve(_force(force, metric, energy)), np.float64)[0, 0]
    error = np.linalg.norm(got - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    # One or two channels have no full metric: the relative floor alone holds these. Measured:
    # 0.2 % at worst, 0.05 % in the median.
    assert error.max() < 4e-3
    assert np.median(error) < 1e-3


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**20), size=st.floats(-12, 12), limit=st.sampled_from([0.1, 0.5, 2.0]))
def test_a_bounded_step_stays_below_the_limit(seed, size, limit):
    step = 10.0**size * np.random.default_rng(seed).normal(size=(4, 4, 4, 3)).astype(np.float32)
    got = np.linalg.norm(bounded(jnp.asarray(step), limit), axis=-1)
    assert got.max() <= limit * (1 + 1e-6)
    if size < -3:
        np.testing.assert_allclose(bounded(jnp.asarray(step), limit), step, rtol=1e-3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**20), sizes=st.tuples(*[st.floats(-8, 8)] * 3))
def test_the_layer_bounds_any_force(seed, sizes):
    """Force, metric and energy of different sizes, that belong to no one difference of features."""
    rng = np.random.default_rng(seed)
    force = 10.0 ** sizes[0] * rng.normal(size=(VOXELS, 3))
    metric = 10.0 ** sizes[1] * _system(seed, 1.0, 1.0, 1 + seed % 3)[1]
    energy = 10.0 ** sizes[2] * rng.uniform(size=VOXELS)
    velocity = _velocity(_force(force, metric, energy))
    assert np.isfinite(velocity).all()
    assert np.linalg.norm(velocity, axis=-1).max() <= 0.5 * (1 + 1e-5)


@jax.jit
def _velocity(force):
    params = {
        "log_scale": jnp.ones(()),
        "log_alpha": jnp.zeros(()),
        "log_epsilon": jnp.log(jnp.array(0.02)),
        "log_fluid_sigma": jnp.zeros(()),
    }
    return demons_step(params, force, jnp.zeros(force.force.shape)).velocity


def test_nothing_comes_of_nothing():
    zero = Force(*(jnp.zeros((1, 1, 4, n)) for n in (3, 6, 1, 3)))
    np.testing.assert_array_equal(solve(zero), 0)
    slopes = jax.jit(jax.grad(lambda force: solve_step(force).sum()))(zero)
    assert all(np.isfinite(leaf).all() for leaf in slopes)
