"""The Demons layer: its parts, its loop, and that features not ours can drive it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import DemonsConfig, channel_force, demons_scan, demons_step
from drivenmorph_jax.model.demons import OddResidual, bounded, init_demons, raw_step
from drivenmorph_jax.spatial.fields import compose, exponential
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.sampling import warp

CFG = DemonsConfig(max_step=0.5, squarings=2)


@pytest.fixture(scope="module")
def images():
    t = np.indices((10, 11, 12)) / 12 * 2 * np.pi
    fixed = np.stack([np.sin(t[0] + t[1]), np.cos(t[2])], axis=-1)
    moving = np.stack([np.sin(t[0] + t[1] + 0.4), np.cos(t[2] - 0.3)], axis=-1)
    return jnp.asarray(fixed, jnp.float32), jnp.asarray(moving, jnp.float32)


@pytest.fixture(scope="module")
def layer(perturbed):
    return perturbed(init_demons(jax.random.key(0), residual_channels=3), size=0.2)


def test_a_step_is_its_parts(images, layer):
    """Solve, residual, bound, fluid smoothing, exponential, composition, diffusion smoothing."""
    force = channel_force(*images)
    start = 0.3 * jnp.sin(jnp.arange(10 * 11 * 12 * 3.0)).reshape(10, 11, 12, 3)
    taken = jax.jit(demons_step, static_argnames="cfg")(layer, force, start, CFG)
    raw = raw_step(layer, force)
    step = raw + OddResidual(3).apply({"params": layer["residual"]}, raw)
    velocity = gaussian_smooth(bounded(step, 0.5), jnp.exp(layer["log_fluid_sigma"]))
    moved = compose(start, exponential(velocity, squarings=2))
    moved = gaussian_smooth(moved, jnp.exp(layer["log_diffusion_sigma"]))
    np.testing.assert_allclose(taken.raw_step, raw, atol=1e-5)
    np.testing.assert_allclose(taken.velocity, velocity, atol=1e-5)
    np.testing.assert_allclose(taken.displacement, moved, atol=1e-5)
    assert np.abs(step - raw).max() > 1e-3


@pytest.mark.parametrize("unroll", [False, True])
def test_scan_is_a_loop(images, layer, unroll):
    fixed, moving = images

    def force_at(u):
        return channel_force(fixed, warp(moving, u))

    def step(force, u):
        taken = demons_step(layer, force, u, CFG)
        return taken.displacement, (taken.velocity, force.force)

    start = jnp.zeros((10, 11, 12, 3))
    scan = jax.jit(lambda u: demons_scan(force_at, step, u, 3, unroll=unroll))
    got, (velocities, forces) = scan(start)
    once = jax.jit(lambda u: step(force_at(u), u))
    u = start
    for k in range(3):
        u, (velocity, force) = once(u)
        np.testing.assert_allclose(velocities[k], velocity, atol=1e-5)
        np.testing.assert_allclose(forces[k], force, atol=1e-5)
    np.testing.assert_allclose(got, u, atol=1e-5)
    assert velocities.shape == (3, 10, 11, 12, 3)


def test_scan_has_the_loops_gradient(images, layer):
    fixed, moving = images

    def run(moving, looped):
        def force_at(u):
            return channel_force(fixed, warp(moving, u))

        def step(force, u):
            return demons_step(layer, force, u, CFG).displacement, None

        u = jnp.zeros((10, 11, 12, 3))
        if not looped:
            return (demons_scan(force_at, step, u, 2)[0] ** 2).sum()
        for _ in range(2):
            u = step(force_at(u), u)[0]
        return (u**2).sum()

    slopes = jax.jit(jax.grad(run), static_argnums=1)
    reference = slopes(moving, True)
    np.testing.assert_allclose(
        slopes(moving, False), reference, atol=1e-4 * np.abs(reference).max()
    )


def test_residual_is_odd_and_starts_at_zero(perturbed):
    params = init_demons(jax.random.key(0), residual_channels=4)["residual"]
    step = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 7, 3)), jnp.float32)
    np.testing.assert_array_equal(OddResidual(4).apply({"params": params}, step), 0)
    trained = {"params": perturbed(params)}
    once = OddResidual(4).apply(trained, step)
    assert np.abs(once).max() > 0.1
    np.testing.assert_array_equal(OddResidual(4).apply(trained, -step), -once)
    np.testing.assert_array_equal(OddResidual(4).apply(trained, 0 * step), 0)


def test_absent_parts_are_left_out(images):
    force = channel_force(*images)
    params = init_demons(jax.random.key(0), fluid_sigma=0.0, diffusion_sigma=0.0)
    assert set(params) == {"log_scale", "log_alpha", "log_epsilon"}
    start = jnp.full((10, 11, 12, 3), 0.25)
    taken = demons_step(params, force, start, CFG._replace(diffeomorphic=False))
    np.testing.assert_allclose(taken.velocity, bounded(taken.raw_step, 0.5), atol=1e-6)
    np.testing.assert_allclose(taken.displacement, start + taken.velocity, atol=1e-6)


def test_widths_scale_and_damping_are_learned(images):
    """Every number of the layer has a gradient."""
    force = channel_force(*images)
    params = init_demons(jax.random.key(0), residual_channels=2)
    start = jnp.zeros((10, 11, 12, 3))
    slopes = jax.jit(
        jax.grad(lambda p: (demons_step(p, force, start, CFG).displacement ** 2).sum())
    )(params)
    for name in ("log_scale", "log_alpha", "log_epsilon", "log_fluid_sigma", "log_diffusion_sigma"):
        assert np.abs(slopes[name]) > 1e-6, name
    assert np.abs(slopes["residual"]["outer"]["kernel"]).max() > 1e-6


def test_iterations_bring_foreign_features_together(images):
    fixed, moving = images
    params = init_demons(jax.random.key(0))

    @jax.jit
    def align(fixed, moving):
        def force_at(u):
            return channel_force(fixed, warp(moving, u, boundary="edge"))

        def step(force, u):
            return demons_step(params, force, u, CFG).displacement, force.energy.mean()

        return demons_scan(force_at, step, jnp.zeros((10, 11, 12, 3)), 8)

    _, energies = align(fixed, moving)
    assert energies[-1] < 0.5 * energies[0]
    assert (np.diff(energies) < 0).all()
