"""Phantoms: the stated displacement is the true one, and everything follows from the seed."""

import numpy as np
import pytest
from scipy import ndimage

from drivenmorph_jax.data import phantom_pair, phantom_subject
from drivenmorph_jax.data.anatomy import BLOBS, draw_anatomy, render
from drivenmorph_jax.data.deformation import random_deformation
from drivenmorph_jax.data.protocols import freesurfer

SHAPE = (32, 36, 32)


def warp(image, displacement, order):
    where = np.moveaxis(displacement, -1, 0) + np.indices(image.shape)
    return ndimage.map_coordinates(image, where, order=order, mode="nearest")


def dice(one, other, value):
    one, other = one == value, other == value
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def determinant(displacement):
    slopes = np.stack([np.gradient(displacement, axis=axis) for axis in (0, 1, 2)], axis=-1)
    return np.linalg.det(slopes + np.eye(3))


@pytest.mark.parametrize("seed", [0, 7])
def test_truth_carries_moving_to_fixed(seed):
    pair = phantom_pair(seed, (64, 72, 64), noise=0, bias=0)
    warped = warp(pair.moving_labels, pair.true_displacement, 0)
    # A nearest-neighbour label is wrong only within half a voxel of an edge.
    large = [v for v in np.unique(pair.fixed_labels) if (pair.fixed_labels == v).sum() > 500]
    assert len(large) > 10
    for value in large:
        assert dice(warped, pair.fixed_labels, value) > 0.85
        assert dice(warped, pair.fixed_labels, value) > dice(
            pair.moving_labels, pair.fixed_labels, value
        )
    image = warp(pair.moving, pair.true_displacement, 1)
    before = np.abs(pair.moving - pair.fixed)[pair.fixed > 0].mean()
    after = np.abs(image - pair.fixed)[pair.fixed > 0].mean()
    assert after < before / 4


@pytest.mark.parametrize("seed", range(3))
def test_deformation_is_invertible(seed):
    field = random_deformation(np.random.default_rng(seed), SHAPE, size=0.06)
    for (one, other), worst, mean in (
        ((field.forward, field.inverse), 0.05, 0.001),
        # This way round the fields are read between their voxels twice.
        ((field.inverse, field.forward), 0.3, 0.02),
    ):
        at = np.stack([warp(other[..., i], one, 1) for i in range(3)], axis=-1)
        assert np.abs(one + at).max() < worst
        assert np.abs(one + at).mean() < mean
        assert determinant(one).min() > 0.05
    length = np.linalg.norm(field.forward, axis=-1)
    assert 1 < length.max() < 0.15 * max(SHAPE)
    assert max(length[0].max(), length[:, :, -1].max()) < 1e-6


def test_same_seed_same_pair():
    one, again, other = phantom_pair(3, SHAPE), phantom_pair(3, SHAPE), phantom_pair(4, SHAPE)
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.fixed_labels, other.fixed_labels)
    np.testing.assert_array_equal(phantom_subject(3, SHAPE).image, phantom_subject(3, SHAPE).image)


def test_no_deformation_gives_the_same_anatomy():
    pair = phantom_pair(1, SHAPE, deformation=0)
    np.testing.assert_array_equal(pair.fixed_labels, pair.moving_labels)
    np.testing.assert_array_equal(pair.true_displacement, 0)
    assert not np.array_equal(pair.fixed, pair.moving)  # noise and bias of their own


def test_images_have_brain_and_exact_background():
    pair = phantom_pair(5, (48, 56, 48))
    assert pair.fixed.dtype == np.float32 and pair.fixed_labels.dtype == np.int32
    for image, labels in ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels)):
        assert (image[labels > 0] > 0).all()
        assert 0.2 < (image > 0).mean() < 0.5
        for border in (image[0], image[-1], image[:, 0], image[:, -1]):
            assert not border.any()
        assert set(np.unique(labels)) - {0} == set(freesurfer().values)
    medians = [np.median(pair.fixed[pair.fixed_labels == v]) for v in (4, 42, 41)]
    assert medians == sorted(medians)  # ventricle, cortex, white matter, as in T1


def test_left_is_on_the_left():
    labels = phantom_subject(0, (48, 56, 48)).labels
    assert labels is not None
    for value, other in freesurfer().swaps.items():
        if value < other:
            left, right = (np.argwhere(labels == v)[:, 0].mean() for v in (value, other))
            assert left < 23.5 < right


def test_anatomy_is_the_same_at_any_sampling():
    anatomy = draw_anatomy(np.random.default_rng(0))
    points = np.random.default_rng(1).uniform(-1, 1, (500, 3))
    intensity, labels = render(anatomy, points, softness=0.05)
    for chosen in (slice(None, None, 7), slice(3, 40)):
        part = render(anatomy, points[chosen], softness=0.05)
        np.testing.assert_allclose(part[0], intensity[chosen], atol=1e-6)
        np.testing.assert_array_equal(part[1], labels[chosen])
    assert len(BLOBS) == 16
