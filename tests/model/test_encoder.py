"""The encoder: grids that stay aligned, features that know the brain alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import encode, init
from drivenmorph_jax.model.encoder import _depth_to_space, _space_to_depth
from drivenmorph_jax.model.seen import brain_pyramid, normalise
from drivenmorph_jax.spatial.mind import mind_descriptor
from drivenmorph_jax.spatial.resize import downsample, downsampled_shape

encode_jit = jax.jit(encode, static_argnames="cfg")


def test_blocks_hold_their_own_voxels():
    image = np.arange(4 * 6 * 8, dtype=np.float32).reshape(4, 6, 8, 1)
    packed = np.asarray(_space_to_depth(jnp.asarray(image)))
    assert packed.shape == (2, 3, 4, 8)
    for p in np.ndindex(2, 3, 4):
        block = image[tuple(slice(2 * i, 2 * i + 2) for i in p)]
        assert set(packed[p]) == set(block.ravel())
    # The mean over a block's channels is mean pooling: the same grid as `downsample`.
    np.testing.assert_allclose(packed.mean(-1), downsample(jnp.asarray(image))[..., 0])


@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_depth_to_space_is_the_inverse(shape, channels):
    image = np.random.default_rng(0).normal(size=(*shape, channels)).astype(np.float32)
    # Of C channels, the C of a voxel stay together: block position first, then channel.
    parts = [_space_to_depth(jnp.asarray(image[..., c : c + 1])) for c in range(channels)]
    packed = jnp.stack(parts, axis=-1).reshape(*parts[0].shape[:3], 8 * channels)
    np.testing.assert_array_equal(_depth_to_space(packed, shape), image)


@pytest.fixture(params=["intensity", "detail", "mind"])
def seeing(request, tiny, perturbed):
    """A network that sees either of an image: its architecture and its encoder's parameters."""
    cfg = dataclasses.replace(tiny, sees=request.param)
    return cfg, perturbed(init(jax.random.key(0), cfg))["encoder"]


def test_features_of_every_level(seeing, brain):
    tiny, encoder = seeing
    image = brain(1, (9, 10, 11))
    features = encode_jit(encoder, image, tiny)
    assert len(features) == tiny.levels
    shape = (9, 10, 11)
    for level, at_level in enumerate(features):
        assert at_level.demon.shape == (*shape, tiny.demon_channels)
        outside = np.asarray(at_level.mask)[..., 0] == 0
        for field in (at_level.demon, at_level.attention):
            np.testing.assert_array_equal(np.asarray(field)[outside], 0)
        if level in tiny.cross_attention:
            norm = np.linalg.norm(at_level.attention, axis=-1)
            np.testing.assert_allclose(norm[~outside], 1, atol=1e-3)
        else:
            assert at_level.attention.shape[-1] == 0
        shape = downsampled_shape(shape)
    np.testing.assert_array_equal(features[0].mask, image != 0)


def test_intensity_scale_does_not_matter(seeing, brain):
    tiny, encoder = seeing
    image = brain(1)
    reference = encode_jit(encoder, image, tiny)
    for scale in (1e-3, 255.0, 3e4):
        scaled = encode_jit(encoder, scale * image, tiny)
        for one, other in zip(jax.tree.leaves(scaled), jax.tree.leaves(reference), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


def test_features_do_not_know_how_much_background_there_is(seeing, brain):
    tiny, encoder = seeing
    image = brain(1, (8, 8, 8))
    reference = encode_jit(encoder, image, tiny)
    wide = encode_jit(encoder, jnp.pad(image, ((4, 8), (0, 4), (16, 0), (0, 0))), tiny)
    for level, (small, large) in enumerate(zip(reference, wide, strict=True)):
        d, h, w = (n // 2**level for n in (8, 8, 8))
        a, b, c = (n // 2**level for n in (4, 0, 16))
        for one, other in zip(small, large, strict=True):
            np.testing.assert_allclose(other[a : a + d, b : b + h, c : c + w], one, atol=2e-5)


def test_attention_at_full_resolution(tiny, brain):
    cfg = dataclasses.replace(tiny, cross_attention=(0, 1), self_attention=())
    params = init(jax.random.key(0), cfg)
    features = encode_jit(params["encoder"], brain(1, (6, 7, 8)), cfg)
    assert features[0].attention.shape == (6, 7, 8, cfg.attention_channels)


def test_the_first_demon_channel_is_the_image_itself(params, tiny, brain):
    image = brain(1)
    images, masks = brain_pyramid(image, tiny.levels)
    features = encode_jit(params["encoder"], image, tiny)
    for level, found in enumerate(features):
        expected = images[level] * masks[level]
        np.testing.assert_allclose(found.demon[..., :1], expected, atol=1e-5)


@pytest.mark.parametrize("sees", ["intensity", "detail", "mind"])
def test_one_demon_channel_is_enough(tiny, sees):
    cfg = dataclasses.replace(tiny, demon_channels=1, sees=sees)

    def features(key, image):
        return encode(init(key, cfg)["encoder"], image, cfg)

    given = jax.ShapeDtypeStruct((8, 8, 8, 1), jnp.float32)
    found = jax.eval_shape(features, jax.random.key(0), given)
    assert [level.demon.shape[-1] for level in found] == [1] * cfg.levels


def test_of_self_similarity_the_demon_channels_start_as_a_frame(tiny, brain):
    cfg = dataclasses.replace(tiny, sees="mind", demon_channels=6)
    params = init(jax.random.key(0), cfg)["encoder"]
    image = brain(1)
    images, masks = brain_pyramid(image, cfg.levels)
    found = encode_jit(params, image, cfg)
    for level, (one, mask) in enumerate(zip(images, masks, strict=True)):
        frame = params[f"mind{level}"]["kernel"]
        np.testing.assert_allclose(frame.T @ frame, np.eye(6), atol=1e-5)
        brain_at = mask[..., 0] > 0
        seen = mind_descriptor(one[..., 0], radius=1, dilation=1, beyond="zero", mask=brain_at)
        expected = normalise(normalise(seen, mask) @ frame, mask)
        np.testing.assert_allclose(found[level].demon, expected, atol=1e-4)
