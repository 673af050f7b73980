"""Each ablation is one value of the config: it starts, registers, learns, and differs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import init, register

ABLATIONS = {
    "no cross-attention": {"cross_attention": ()},
    "no self-attention": {"self_attention": ()},
    "convolutional head": {"head": "convolution"},
    "additive update": {"update": "additive"},
    "no residual": {"residual_channels": (0, 0)},
    "Thirion's Jacobian": {"symmetric": False},
    "bfloat16": {"precision": "bfloat16"},
    "no smoothing": {"fluid_sigma": 0.0, "diffusion_sigma": 0.0},
}
NEW_PARAMETERS = {
    "no cross-attention",
    "no self-attention",
    "convolutional head",
    "no residual",
    "no smoothing",
}


@pytest.fixture(scope="module")
def coarse(tiny):
    """Force at the coarser level alone, which has both kinds of attention: half to compile."""
    return dataclasses.replace(tiny, iterations=(0, 2))


@pytest.fixture(scope="module")
def coarse_params(coarse, perturbed):
    return perturbed(init(jax.random.key(0), coarse))


@pytest.mark.slow
@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation(name, coarse, coarse_params, pair, perturbed, compiled_register):
    cfg = dataclasses.replace(coarse, **ABLATIONS[name])
    params = coarse_params
    fresh = init(jax.random.key(0), cfg)
    same = jax.tree.structure(fresh) == jax.tree.structure(params)
    assert same == (name not in NEW_PARAMETERS)
    own = params if same else perturbed(fresh)

    @jax.jit
    def descend(params, fixed, moving):
        def loss(params, fixed, moving):
            result = register(params, fixed, moving, cfg)
            return (result.displacement**2).sum(), result

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, fixed, moving)

    (_, result), slopes = descend(own, *pair)
    for leaf in jax.tree.leaves(slopes):
        assert np.isfinite(leaf).all()
        assert leaf.dtype == jnp.float32
    assert result.displacement.dtype == jnp.float32
    assert len(result.levels) == 1
    assert np.isfinite(result.displacement).all()
    assert np.abs(result.displacement).max() > 1e-3
    default = compiled_register(params, *pair, coarse).displacement
    difference = np.abs(result.displacement - default).max()
    assert difference > 1e-4
    if name == "bfloat16":
        assert difference < 0.2 * np.abs(default).max()
    if name == "no cross-attention":
        np.testing.assert_array_equal(result.levels[0].attention_force_norm, 0)
    if name == "no residual":
        level = result.levels[0]
        np.testing.assert_array_equal(level.displacement, level.force_displacement)


def test_residual_is_set_apart_from_the_force(params, tiny, pair, compiled_register):
    level = compiled_register(params, *pair, tiny).levels[0]
    assert np.abs(level.displacement - level.force_displacement).max() > 1e-3
    silent = jax.tree.map(lambda p: p, params)
    silent["demons"]["level_1"]["residual"] = jax.tree.map(
        jnp.zeros_like, params["demons"]["level_1"]["residual"]
    )
    level = compiled_register(silent, *pair, tiny).levels[0]
    np.testing.assert_allclose(level.displacement, level.force_displacement, atol=1e-6)
