"""`register` as a function: pure, of any shape, dtype and transformation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import ModelConfig, init, register
from drivenmorph_jax.spatial.sampling import warp


@pytest.mark.slow  # op by op
def test_compiled_or_not_is_the_same(params, tiny, pair, compiled_register):
    eager = register(params, *pair, tiny)
    compiled = compiled_register(params, *pair, tiny)
    for one, other in zip(jax.tree.leaves(eager), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_batches_by_vmap(params, tiny, pair, brain, compiled_register):
    fixed = jnp.stack([pair[0], brain(5)])
    moving = jnp.stack([pair[1], brain(6)])
    batched = jax.jit(jax.vmap(lambda f, m: register(params, f, m, tiny).displacement))(
        fixed, moving
    )
    for i in range(2):
        single = compiled_register(params, fixed[i], moving[i], tiny).displacement
        np.testing.assert_allclose(batched[i], single, atol=1e-4)


@pytest.mark.parametrize("shape", [(9, 7, 11), (5, 16, 6)])
def test_any_shape(shape, params, tiny, brain, compiled_register):
    result = compiled_register(params, brain(1, shape), brain(2, shape), tiny)
    assert result.displacement.shape == (*shape, 3)
    assert np.isfinite(result.displacement).all()
    for level, expected in zip(result.levels, (1, 0), strict=True):
        sizes = tuple(-(-n // 2**expected) for n in shape)
        assert level.displacement.shape == (*sizes, 3)
        assert level.velocity.shape[1:4] == sizes


def test_every_shape_and_config_traces():
    """The default architecture, on grids far from even and smaller than its coarsest voxel."""
    cfg = ModelConfig()
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(lambda k: init(k, cfg), key)
    for shape in ((37, 5, 21), (4, 4, 4)):
        image = jax.ShapeDtypeStruct((*shape, 1), jnp.float32)
        result = jax.eval_shape(lambda p, f, m: register(p, f, m, cfg), params, image, image)
        assert result.displacement.shape == (*shape, 3)
        assert [level.velocity.shape[0] for level in result.levels] == [4, 4, 3, 1]


@pytest.mark.parametrize("image_dtype", [jnp.int16, jnp.float16, jnp.float32, jnp.float64])
def test_precision_follows_the_images(tiny, image_dtype):
    """With 64 bits enabled: at least float32, no more than asked for, and float64 all the way."""
    with jax.enable_x64(True):
        params = jax.eval_shape(lambda k: init(k, tiny), jax.eval_shape(lambda: jax.random.key(0)))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
        image = jax.ShapeDtypeStruct((8, 8, 8, 1), image_dtype)
        result = jax.eval_shape(lambda p, f, m: register(p, f, m, tiny), params, image, image)
        expected = jnp.promote_types(image_dtype, jnp.float32)
        assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {expected}


def test_no_leaf_has_a_weak_type(params, tiny):
    """A weak leaf, a Python number in disguise, would compile the training step twice."""
    fresh = init(jax.random.key(0), tiny)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(fresh))
    image = jax.ShapeDtypeStruct((8, 8, 8, 1), jnp.float32)
    result = jax.eval_shape(lambda p, f, m: register(p, f, m, tiny), params, image, image)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(result))


def test_intensity_scale_does_not_matter(params, tiny, pair, compiled_register):
    fixed, moving = pair
    reference = compiled_register(params, fixed, moving, tiny).displacement
    scaled = compiled_register(params, 300.0 * fixed, 0.02 * moving, tiny).displacement
    np.testing.assert_allclose(scaled, reference, atol=1e-3)
    assert np.abs(reference).max() > 0.1


@pytest.mark.parametrize("global_tokens", [10**6, 1], ids=["global", "windows"])
def test_background_does_not_matter(global_tokens, tiny, perturbed, brain, compiled_register):
    """More background leaves u in the brain as it was, within a thousandth of a voxel or so.

    What is left comes over the rim: beyond the grid a field to be smoothed is 0, and a margin of
    four voxels does not hide all of it (with none, u changes by a third). And attention must do
    the same on both grids: where more background makes it go from all tokens to windows, u moves
    by hundredths of a voxel.
    """
    cfg = dataclasses.replace(tiny, global_tokens=global_tokens)
    params = perturbed(init(jax.random.key(3), cfg), size=0.2)
    fixed, moving = (brain(seed, (16, 16, 16), margin=4.0) for seed in (1, 2))
    reference = np.asarray(compiled_register(params, fixed, moving, cfg).displacement)
    wide = [jnp.pad(image, ((16, 0), (0, 16), (0, 0), (0, 0))) for image in (fixed, moving)]
    padded = np.asarray(compiled_register(params, *wide, cfg).displacement)
    inside = np.asarray(fixed)[..., 0] != 0
    assert np.abs(reference[inside]).max() > 0.1
    np.testing.assert_allclose(padded[16:, :16][inside], reference[inside], atol=3e-3)


@pytest.mark.parametrize(("sees", "least", "most"), [("mind", 0, 0.15), ("intensity", 0.4, 1)])
def test_what_self_similarity_is_for(sees, least, most, tiny, compiled_register, brain):
    """The negative of an image, a voxel away, is found by self-similarity before any training."""
    cfg = dataclasses.replace(tiny, sees=sees, demon_channels=6, iterations=(4, 4))
    fixed = brain(1, (24, 24, 24), margin=3.0)
    moved = warp(fixed, jnp.zeros((*fixed.shape[:3], 3)).at[..., 0].set(-1.0))
    negative = jnp.where(moved != 0, 2 - moved, 0)
    params = init(jax.random.key(0), cfg)
    found = np.asarray(compiled_register(params, fixed, negative, cfg).displacement)
    error = np.linalg.norm(found - [1, 0, 0], axis=-1)[np.asarray(fixed)[..., 0] != 0].mean()
    assert least <= error < most


def test_parameters_depend_on_the_key_alone(tiny):
    one, again, other = (init(jax.random.key(k), tiny) for k in (0, 0, 1))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [p["encoder"]["down1_a"]["kernel"] for p in (one, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
