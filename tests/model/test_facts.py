"""Facts of the model that hold for any parameters: identity, exchange, derivatives, folding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import ClassicalConfig, classical_demons, register
from drivenmorph_jax.spatial.jacobian import jacobian_determinant


@pytest.fixture(scope="module")
def special_images(brain):
    """Images on which a normalisation, a norm or a solve may divide by zero."""
    textured = brain(1)
    return {
        "textured": textured,
        "constant in the brain": (textured != 0).astype(jnp.float32),
        "constant to the border": jnp.full_like(textured, 3.0),
        "empty": jnp.zeros_like(textured),
        "one voxel": jnp.zeros_like(textured).at[4, 4, 4].set(1.0),
    }


def test_an_image_is_carried_into_itself_by_nothing(
    params, tiny, compiled_register, special_images
):
    """r = 0 makes f = 0 makes u = 0: exactly, whatever was learned."""
    for name, image in special_images.items():
        result = compiled_register(params, image, image, tiny)
        for field in jax.tree.leaves(result.displacement):
            np.testing.assert_array_equal(field, 0, err_msg=name)
        for level in result.levels:
            for field in (level.driving_force, level.velocity, level.force_displacement):
                np.testing.assert_array_equal(field, 0, err_msg=name)
    assert np.any(jax.tree.leaves(params["demons"]["level_1"]["residual"])[-1])


def test_derivatives_are_finite_everywhere(params, tiny, special_images, brain):
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(10, 9, 12, 3)), jnp.float32)

    @jax.jit
    def slopes(params, fixed, moving):
        def loss(params, fixed, moving):
            u = register(params, fixed, moving, tiny).displacement
            return (weights * u).sum() + (u**2).sum()

        return jax.grad(loss, argnums=(0, 1, 2))(params, fixed, moving)

    images = list(special_images.items())
    pairs = [(name, image, image) for name, image in images]
    pairs += [(f"textured, {name}", images[0][1], image) for name, image in images[1:]]
    pairs += [("two brains", images[0][1], brain(2))]
    for name, fixed, moving in pairs:
        for leaf in jax.tree.leaves(slopes(params, fixed, moving)):
            assert np.isfinite(leaf).all(), name
    moved = slopes(params, images[0][1], brain(2))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(moved))


def test_exchange_of_the_images_turns_force_and_step_round(params, tiny, compiled_register, pair):
    """At u = 0: the first iteration of the coarsest level, with both kinds of attention on."""
    fixed, moving = pair
    one = compiled_register(params, fixed, moving, tiny).levels[0]
    other = compiled_register(params, moving, fixed, tiny).levels[0]
    assert one.attention_force_norm[0] > 1e-3 * one.gradient_force_norm[0] > 0
    for a, b in (
        (one.driving_force[0], other.driving_force[0]),
        (one.raw_step[0], other.raw_step[0]),
        (one.velocity[0], other.velocity[0]),
    ):
        # Only q of the moving image is normalised twice: about 1e-6 apart from perfect.
        np.testing.assert_allclose(a, -b, atol=3e-5 * np.abs(a).max())
        assert np.abs(a).max() > 0
    assert not np.allclose(one.driving_force[1], -other.driving_force[1], rtol=1e-2)


def test_derivatives_agree_with_finite_differences(params, tiny, pair):
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        # Noise makes every point generic: no sample on a voxel, no activation at its kink.
        fixed, moving = (
            (x.astype(jnp.float64) + 0.05 * rng.normal(size=x.shape)) * (x != 0) for x in pair
        )
        weights = jnp.asarray(rng.normal(size=(10, 9, 12, 3)))

        @jax.jit
        def value_and_slopes(*operands):
            def loss(params, fixed, moving):
                u = register(params, fixed, moving, tiny).displacement
                assert u.dtype == jnp.float64
                return (weights * u).sum()

            return jax.value_and_grad(loss, argnums=(0, 1, 2))(*operands)

        operands = (params, fixed, moving)
        slopes = value_and_slopes(*operands)[1]
        directions = {
            "encoder": (_direction(params, rng, only="encoder"), 0 * fixed, 0 * moving),
            "difference": (_direction(params, rng, only="difference"), 0 * fixed, 0 * moving),
            "demons": (_direction(params, rng, only="demons"), 0 * fixed, 0 * moving),
            "fixed": (
                _direction(params, rng),
                rng.normal(size=fixed.shape) * (fixed != 0),
                0 * moving,
            ),
            "moving": (
                _direction(params, rng),
                0 * fixed,
                rng.normal(size=moving.shape) * (moving != 0),
            ),
        }
        step = 1e-7
        for name, direction in directions.items():
            ahead, behind = (
                value_and_slopes(
                    *jax.tree.map(lambda x, d, s=s: x + s * step * d, operands, direction)
                )[0]
                for s in (1, -1)
            )
            products = jax.tree.map(lambda g, d: (g * d).sum(), slopes, direction)
            expected = sum(jax.tree.leaves(products))
            np.testing.assert_allclose(
                (ahead - behind) / (2 * step), expected, rtol=1e-4, err_msg=name
            )
            assert abs(expected) > 1e-6, name


def _direction(params, rng, *, only: str = ""):
    return {
        name: jax.tree.map(lambda p, on=name == only: on * rng.normal(size=p.shape), subtree)
        for name, subtree in params.items()
    }


def test_folding_is_not_excluded_but_seen(brain):
    """Unrelated images, hardly any smoothing: additive updates fold, and one can see it."""
    fixed, moving = brain(3), brain(4)
    rough = {"iterations": (12,), "fluid_sigma": 0.0, "diffusion_sigma": 0.3}
    wild = classical_demons(fixed, moving, ClassicalConfig(variant="thirion", **rough))
    assert jacobian_determinant(wild.displacement).min() <= 0
    tame = classical_demons(fixed, moving, ClassicalConfig(iterations=(12,), diffusion_sigma=2.0))
    assert jacobian_determinant(tame.displacement).min() > 0
