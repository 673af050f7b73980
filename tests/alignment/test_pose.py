"""The moving parts of a pose."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from drivenmorph_jax.alignment.pose import Pose, active, exponential, move, world_matrix
from drivenmorph_jax.alignment.starts import start_rotations


@pytest.mark.parametrize("size", [0.0, 0.1, 1.0, 2.0])
def test_exponential(size):
    matrix = size * np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    wanted = linalg.expm(matrix.astype(np.float64))
    np.testing.assert_allclose(exponential(jnp.asarray(matrix)), wanted, rtol=1e-4, atol=1e-4)


def test_rigid_steps_stay_rigid():
    pose = Pose(jnp.eye(3), jnp.zeros(3))
    step = jnp.array([1.0, 2, 3, 10, -20, 30, 0, 0, 0, 0, 0, 0])
    for _ in range(20):
        pose = move(pose, step, jnp.float32(50))
    np.testing.assert_allclose(pose.linear @ pose.linear.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(pose.translation, [20, 40, 60], rtol=1e-5)


def test_free_parameters_by_kind():
    assert [active(kind).sum() for kind in ("translation", "rigid", "affine")] == [3, 6, 12]
    with pytest.raises(ValueError, match="kind must be"):
        active("similarity")  # type: ignore[arg-type]


def test_world_matrix_maps_centre_to_centre():
    pose = Pose(jnp.diag(jnp.array([1.0, 2, 3])), jnp.array([1.0, 0, 0]))
    fixed, moving = jnp.array([10.0, 20, 30]), jnp.array([-5.0, 0, 5])
    there = world_matrix(pose, fixed, moving) @ jnp.append(fixed, 1)
    np.testing.assert_allclose(there[:3], moving + pose.translation, atol=1e-5)


def test_starts_are_rotations_and_hold_the_principal_axes():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    covariance = np.diag([1.0, 4.0, 9.0])
    starts = np.asarray(
        start_rotations(jnp.asarray(covariance), jnp.asarray(turn @ covariance @ turn.T))
    )
    for start in starts:
        np.testing.assert_allclose(start @ start.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(start) > 0.99
    np.testing.assert_allclose(starts[0], np.eye(3), atol=1e-6)
    assert np.abs(starts - turn).max(axis=(1, 2)).min() < 1e-4
