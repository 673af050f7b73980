"""Regularity of fields whose derivatives are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective import regularity
from drivenmorph_jax.spatial.sampling import identity_grid

diffusion = jax.jit(regularity.diffusion, static_argnames="spacing")
bending_energy = jax.jit(regularity.bending_energy, static_argnames="spacing")
jacobian_hinge = jax.jit(regularity.jacobian_hinge, static_argnames="margin")


def _random(shape=(6, 5, 7), seed=0, dtype="float32"):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(*shape, 3)), dtype)


def _linear(matrix, shape=(6, 5, 7)):
    return jnp.einsum("ij,dhwj->dhwi", jnp.asarray(matrix, jnp.float32), identity_grid(shape))


def test_diffusion_of_a_linear_field_is_its_mean_squared_slope():
    matrix = np.arange(9.0).reshape(3, 3) / 10
    np.testing.assert_allclose(diffusion(_linear(matrix)), (matrix**2).mean(), rtol=1e-5)


def test_diffusion_in_mm_scales_each_slope():
    matrix, spacing = np.arange(9.0).reshape(3, 3) / 10, np.array([1.0, 2.0, 0.5])
    slopes = matrix * spacing[:, None] / spacing[None, :]
    got = diffusion(_linear(matrix), spacing=tuple(spacing.tolist()))
    np.testing.assert_allclose(got, (slopes**2).mean(), rtol=1e-5)


def test_diffusion_is_its_definition():
    field = np.asarray(_random(), np.float64)
    expected = np.mean([(np.diff(field, axis=axis) ** 2).mean() for axis in range(3)])
    np.testing.assert_allclose(diffusion(_random()), expected, rtol=1e-5)


def test_bending_energy_of_an_affine_field_is_zero():
    matrix = np.arange(9.0).reshape(3, 3) / 10
    np.testing.assert_allclose(bending_energy(_linear(matrix) + 2), 0, atol=1e-10)


def test_bending_energy_of_a_quadratic_field_is_its_squared_hessian():
    x, y, z = jnp.moveaxis(identity_grid((6, 5, 7)), -1, 0)
    # Σ_jk (∂_jk u_i)²: 4·a² for a·x², 2·b² for b·y·z, by component; their mean over the three.
    field = jnp.stack([0.3 * x**2, 0.5 * y * z, 0.1 * z**2], axis=-1)
    expected = (4 * 0.3**2 + 2 * 0.5**2 + 4 * 0.1**2) / 3
    np.testing.assert_allclose(bending_energy(field), expected, rtol=1e-4)
    stretched = bending_energy(field, spacing=(2.0, 1.0, 1.0))
    # u_0 doubles in mm, and ∂²/∂x² falls by 4.
    expected = (4 * (0.3 * 2 / 4) ** 2 + 2 * 0.5**2 + 4 * 0.1**2) / 3
    np.testing.assert_allclose(stretched, expected, rtol=1e-4)


def test_hinge_is_silent_on_a_map_that_does_not_fold_and_linear_on_one_that_does():
    shrink = _linear(np.diag([-0.5, 0.0, 0.0]))
    assert jacobian_hinge(shrink) == 0
    flip = _linear(np.diag([-1.5, 0.0, 0.0]))
    np.testing.assert_allclose(jacobian_hinge(flip, margin=0.1), 0.6, rtol=1e-5)
    slope = jax.grad(lambda s: jacobian_hinge(_linear(np.diag([1.0, 0, 0])) * s))(-1.01)
    assert slope < -0.9


@pytest.mark.parametrize("penalty", [diffusion, bending_energy, jacobian_hinge])
def test_gradient_agrees_with_finite_differences(penalty):
    with jax.enable_x64(True):
        field, direction = (np.asarray(_random(seed=seed, dtype="float64")) for seed in (0, 1))
        value_and_grad = jax.jit(jax.value_and_grad(penalty))
        step = 1e-6 * direction
        difference = value_and_grad(field + step)[0] - value_and_grad(field - step)[0]
        slope = (value_and_grad(field)[1] * direction).sum()
        np.testing.assert_allclose(difference / 2e-6, slope, rtol=1e-6)


@pytest.mark.parametrize("penalty", [diffusion, bending_energy, jacobian_hinge])
def test_vmap_is_the_loop_and_zero_has_no_gradient(penalty):
    fields = jnp.stack([_random(seed=seed) for seed in range(3)])
    looped = [jax.jit(penalty)(field) for field in fields]
    np.testing.assert_allclose(jax.jit(jax.vmap(penalty))(fields), looped, rtol=1e-5)
    assert np.ptp(looped) > 0
    gradient = jax.jit(jax.grad(penalty))(jnp.zeros_like(fields[0]))
    np.testing.assert_array_equal(gradient, 0)


def test_two_dimensional_fields_are_taken():
    field = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5, 2)), jnp.float32)
    expected = np.mean([(np.diff(field, axis=axis) ** 2).mean() for axis in range(2)])
    np.testing.assert_allclose(diffusion(field), expected, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="spacing"):
        diffusion(_random(), spacing=(1.0, 2.0))
    with pytest.raises(ValueError, match="too small"):
        bending_energy(_random((2, 5, 5)))
    with pytest.raises(ValueError, match="too small"):
        diffusion(_random((1, 5, 5)))
