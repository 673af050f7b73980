"""The supervision of the demon channels by labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective.features import feature_supervision, label_codes
from drivenmorph_jax.spatial.resize import downsample

VALUES = (9, 2, 5)
CODES = label_codes(VALUES, 3)


def blocks(shape=(12, 10, 8)):
    """Three structures of a few voxels' size, on background; the image is 1 in them."""
    choices = np.array((0, *VALUES), np.int32)
    coarse = np.random.default_rng(0).choice(choices, tuple(n // 2 for n in shape))
    labels = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    return (labels > 0).astype(np.float32)[..., None], labels


def expected(labels, image, levels: int):
    """What the features would have to be, level by level, by NumPy."""
    found = []
    coded = np.zeros((*labels.shape, 3), np.float32)
    for value, code in zip(VALUES, CODES, strict=True):
        coded[labels == value] = code
    brain = (image != 0).astype(np.float32)
    for _ in range(levels):
        inside = brain[..., 0] > 0
        mean, spread = coded[inside].mean(0), coded[inside].std(0)
        found.append((coded - mean) / spread * inside[..., None])
        coded, brain = np.asarray(downsample(coded)), np.asarray(downsample(brain))
    return found


def test_codes_are_far_apart_and_shared_within_a_structure():
    structures = [2, 3, 4, 2, 3, 7, 8, 10, 11]
    codes = label_codes(structures, 4)
    assert codes.shape == (9, 4)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 1, rtol=1e-5)
    distance = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    same = np.equal.outer(structures, structures)
    assert (distance[same] == 0).all()
    # Eight points of a sphere in four dimensions can be √2 apart; at random the nearest are 0.5.
    assert distance[~same].min() > 1.1
    np.testing.assert_array_equal(codes, label_codes(structures, 4))


def test_the_codes_themselves_cost_nothing_and_what_is_unrelated_costs_2():
    image, labels = blocks()
    right = expected(labels, image, 2)
    loss = feature_supervision(right, image, labels, VALUES, CODES)
    np.testing.assert_allclose(loss, 0, atol=1e-4)
    noise = [np.random.default_rng(1).normal(size=part.shape) for part in right]
    loss = feature_supervision(noise, image, labels, VALUES, CODES)
    assert loss == pytest.approx(2, abs=0.3)


def test_only_the_last_channels_and_only_the_brain_count():
    image, labels = blocks()
    right = expected(labels, image, 1)[0]
    loss = feature_supervision([right + 0.5], image, labels, VALUES, CODES)
    np.testing.assert_allclose(loss, 0.25, rtol=1e-3)
    outside = np.where(image != 0, right, 7.0)
    more = np.concatenate([image * 3, outside], axis=-1)
    loss = feature_supervision([more], image, labels, VALUES, CODES)
    np.testing.assert_allclose(loss, 0, atol=1e-4)


def test_the_gradient_is_finite_without_any_label():
    image, labels = blocks()

    def loss(features):
        return feature_supervision([features], image, 0 * labels, VALUES, CODES)

    gradient = jax.jit(jax.grad(loss))(jnp.zeros((*labels.shape, 3)))
    assert jnp.isfinite(gradient).all()
