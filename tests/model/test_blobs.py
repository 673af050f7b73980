"""Blobs of known motion: the right sign, size and place of the answer at every level."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from drivenmorph_jax.model import ClassicalConfig, classical_demons, init
from drivenmorph_jax.spatial.sampling import warp

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


def _seen(fixed, u, truth):
    """Gain and error of u along the gradient, the one direction in which a blob can tell."""
    slope = _slope(fixed)
    expected, got = (slope * truth).sum(-1), (slope * u).sum(-1)
    gain = (expected * got).sum() / (expected**2).sum()
    return gain, np.linalg.norm(got - expected) / np.linalg.norm(expected)


def _mean_direction(fixed, u, shift):
    """Cosine of the mean displacement of the blob's flanks with the true shift."""
    mean = ((_slope(fixed) ** 2).sum(-1, keepdims=True) * u).sum((0, 1, 2))
    return mean @ shift / np.linalg.norm(mean) / np.linalg.norm(shift)


SHIFT = np.array([1.5, -1.0, 0.5])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_translation_has_its_sign_and_size(level):
    fixed, moving = _blob(), _blob(shift=SHIFT)
    u = np.asarray(demons(fixed, moving, _at_level(level)).displacement)
    gain, error = _seen(fixed, u, SHIFT)
    assert 0.9 < gain < 1.05
    assert error < 0.22
    assert _mean_direction(fixed, u, SHIFT) > 0.99
    after = ((warp(moving, jnp.asarray(u)) - fixed) ** 2).mean()
    assert after < 0.08 * ((moving - fixed) ** 2).mean()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_rotation_has_its_sign_size_and_centre(level):
    rotation, widths = np.array([0.0, 0.0, 0.2]), (9.0, 5.0, 7.0)
    fixed, moving = _blob(widths=widths), _blob(widths=widths, rotation=rotation)
    u = np.asarray(demons(fixed, moving, _at_level(level)).displacement)
    grid = np.moveaxis(np.indices(SHAPE, float), 0, -1) - (np.array(SHAPE) - 1) / 2
    truth = grid @ (Rotation.from_rotvec(rotation).as_matrix() - np.eye(3)).T
    gain, error = _seen(fixed, u, truth)
    assert 0.8 < gain < 1.05
    assert error < 0.45
    # Both blobs look the same from the other side of the middle, so the answer must as well: a
    # grid that is half a voxel off at some level would show here at once.
    np.testing.assert_allclose(u, -u[::-1, ::-1, ::-1], atol=2e-4)
    assert np.abs(u).max() > 0.5


@pytest.mark.parametrize("level", [0, 1])
def test_an_untrained_network_moves_the_right_way(level, tiny, compiled_register):
    cfg = dataclasses.replace(tiny, iterations=tuple(4 * (i == level) for i in range(2)))
    params = init(jax.random.key(0), cfg)
    # A network for brains sees a brain: blobs with an edge.
    fixed, moving = (jnp.where(b > 0.05, b, 0) for b in (_blob(), _blob(shift=SHIFT)))
    u = np.asarray(compiled_register(params, fixed, moving, cfg).displacement)
    gain, _ = _seen(fixed, u, SHIFT)
    assert 0.3 < gain < 1.1
    assert _mean_direction(fixed, u, SHIFT) > 0.95
    after = ((warp(moving, jnp.asarray(u)) - fixed) ** 2).mean()
    assert after < 0.5 * ((moving - fixed) ** 2).mean()
