"""Blobs of known motion: the right sign, size and place of the answer at every level."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from drivenmorph_jax.model import ClassicalConfig, classical_demons

SHAPE = (32, 32, 32)
demons = jax.jit(classical_demons, static_argnames="cfg")


def _blob(*, shift=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0), widths=(7.0, 7.0, 7.0)):
    """exp(-|R⁻¹(x - c - shift)/widths|²/2) about the middle of the grid: (*SHAPE, 1)."""
    grid = np.moveaxis(np.indices(SHAPE, float), 0, -1) - (np.array(SHAPE) - 1) / 2 - shift
    turned = grid @ Rotation.from_rotvec(rotation).as_matrix()
    return jnp.asarray(np.exp(-0.5 * ((turned / widths) ** 2).sum(-1))[..., None], jnp.float32)


def _at_level(level, iterations=30):
    schedule = tuple(iterations * (i == level) for i in range(level + 1))
    # Little smoothing: it holds back what a coarse level, where a blob is small, can find.
    return ClassicalConfig(iterations=schedule, diffusion_sigma=0.5)


def _slope(image):
    return np.stack(np.gradient(np.asarray(image)[..., 0]), axis=-1)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_translation_has_its_sign_and_size(level):
    shift = np.array([1.5, -1.0, 0.5])
    fixed, moving = _blob(), _blob(shift=shift)
    u = np.asarray(demons(fixed, moving, _at_level(level)).displacement)
    weight = (_slope(fixed) ** 2).sum(-1, keepdims=True)
    mean = (weight * u).sum((0, 1, 2)) / weight.sum()
    np.testing.assert_allclose(mean, shift, atol=0.25)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_rotation_has_its_sign_size_and_centre(level):
    """Seen along the gradient, the one direction in which a blob can tell."""
    rotation = np.array([0.0, 0.0, 0.2])
    widths = (9.0, 5.0, 7.0)
    fixed, moving = _blob(widths=widths), _blob(widths=widths, rotation=rotation)
    u = np.asarray(demons(fixed, moving, _at_level(level)).displacement)
    grid = np.moveaxis(np.indices(SHAPE, float), 0, -1) - (np.array(SHAPE) - 1) / 2
    truth = grid @ (Rotation.from_rotvec(rotation).as_matrix() - np.eye(3)).T
    slope = _slope(fixed)
    expected, got = (slope * truth).sum(-1), (slope * u).sum(-1)
    gain = (expected * got).sum() / (expected**2).sum()
    assert 0.75 < gain < 1.25
    assert np.linalg.norm(got - expected) < 0.35 * np.linalg.norm(expected)
    # Both blobs look the same from the other side of the middle, so the answer must as well: a
    # grid that is half a voxel off at some level would show here at once.
    mirrored = -u[::-1, ::-1, ::-1]
    np.testing.assert_allclose(u, mirrored, atol=2e-3)
    assert np.abs(u).max() > 0.5


@pytest.mark.parametrize("level", [0, 1])
def test_an_untrained_network_moves_the_right_way(level, tiny, compiled_init, compiled_register):
    cfg = dataclasses.replace(tiny, iterations=tuple(4 * (i == level) for i in range(2)))
    params = compiled_init(jax.random.key(1), cfg)
    shift = np.array([1.5, -1.0, 0.5])
    fixed, moving = _blob(), _blob(shift=shift)
    # A network for brains sees a brain: blobs with an edge.
    fixed, moving = (jnp.where(image > 0.05, image, 0) for image in (fixed, moving))
    u = np.asarray(compiled_register(params, fixed, moving, cfg).displacement)
    weight = (_slope(fixed) ** 2).sum(-1, keepdims=True)
    mean = (weight * u).sum((0, 1, 2)) / weight.sum()
    cosine = mean @ shift / np.linalg.norm(mean) / np.linalg.norm(shift)
    assert cosine > 0.9
    assert 0.05 < np.linalg.norm(mean) / np.linalg.norm(shift) < 1.2
