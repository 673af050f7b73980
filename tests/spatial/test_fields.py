"""Composition and exponential against closed forms, and as a group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.linalg import expm

from drivenmorph_jax.spatial.fields import compose, exponential
from drivenmorph_jax.spatial.jacobian import jacobian_determinant

compose_jit = jax.jit(compose)
exponential_jit = jax.jit(exponential, static_argnames="squarings")


def _linear(matrix, shape):
    """L(x - c) about the middle of the grid."""
    grid = np.moveaxis(np.indices(shape, float), 0, -1) - (np.array(shape) - 1) / 2
    return grid @ np.asarray(matrix).T


def _float(field):
    return jnp.asarray(field, jnp.float32)


def test_translations_add():
    u = jnp.broadcast_to(jnp.array([0.25, -1.5, 2.0]), (5, 6, 7, 3))
    v = jnp.broadcast_to(jnp.array([1.0, 0.75, -0.5]), (5, 6, 7, 3))
    np.testing.assert_array_equal(compose(u, v), u + v)


@pytest.mark.parametrize("n", [2, 3])
def test_second_argument_acts_first(n, ball):
    rng = np.random.default_rng(3)
    shape = (11, 12, 13)[:n]
    a = np.eye(n) + rng.uniform(0.05, 0.2, (n, n)) * np.triu(np.ones((n, n)), 1)
    b = np.eye(n) - rng.uniform(0.05, 0.2, (n, n)) * np.tril(np.ones((n, n)))
    u, v = _linear(a - np.eye(n), shape), _linear(b - np.eye(n), shape)
    expected = _linear(a @ b - np.eye(n), shape)
    inner = ball(shape, 3.5)
    got = compose(_float(u), _float(v))
    np.testing.assert_allclose(got[inner], expected[inner], atol=1e-5)
    assert np.abs(_linear(b @ a - a @ b, shape)[inner]).max() > 0.03  # the order matters


def test_identity_is_neutral(smooth_field):
    u = _float(smooth_field((9, 10, 11)))
    zero = jnp.zeros_like(u)
    np.testing.assert_array_equal(compose(u, zero), u)
    np.testing.assert_array_equal(compose(zero, u), u)
    np.testing.assert_array_equal(exponential(zero), 0)


def test_composition_is_associative_up_to_interpolation(smooth_field):
    """The one error is that of linear interpolation: it falls as the square of the spacing."""

    def error(n):
        u, v, w = (_float(smooth_field((n, n), seed=s)) for s in range(3))
        left = compose_jit(compose_jit(u, v), w)
        right = compose_jit(u, compose_jit(v, w))
        return float(jnp.abs(left - right).max()) / n

    coarse, fine = error(24), error(48)
    assert coarse * 24 < 0.1
    assert fine < coarse / 2.5


def test_exponential_of_a_linear_velocity_is_the_matrix_exponential(ball):
    """Turning and shrinking keeps a ball inside the grid, where interpolation is exact."""
    shape = (13, 13, 13)
    generator = np.array([[-0.1, -0.4, 0.1], [0.4, -0.2, 0.3], [-0.1, -0.3, -0.15]])
    velocity, inner = _float(_linear(generator, shape)), ball(shape, 5)
    expected = _linear(expm(generator) - np.eye(3), shape)[inner]
    errors = [
        np.abs(exponential_jit(velocity, squarings=n)[inner] - expected).max() for n in (4, 6, 8)
    ]
    assert errors[1] < 0.02  # of displacements up to 2 voxels
    # The first small step is of first order, so each squaring halves the error.
    assert errors[0] / 5 < errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3
    np.testing.assert_array_equal(exponential(velocity, squarings=0), velocity)


def test_exponential_of_minus_v_is_the_inverse(smooth_field):
    velocity = _float(smooth_field((16, 16, 16), amplitude=1.0))
    forward, backward = exponential_jit(velocity), exponential_jit(-velocity)
    for one, other in ((forward, backward), (backward, forward)):
        assert jnp.abs(compose_jit(one, other)).max() < 0.1
    naive = jnp.abs(compose_jit(forward, -forward)).max()
    assert jnp.abs(compose_jit(backward, forward)).max() < naive / 5
    assert jnp.abs(velocity).max() > 1


def test_exponential_of_a_velocity_that_folds_does_not_fold(smooth_field):
    velocity = _float(smooth_field((24, 24), amplitude=5.0))
    assert jacobian_determinant(velocity).min() < -0.2
    assert jacobian_determinant(exponential_jit(velocity, squarings=8)).min() > 0


def test_exponential_adds_along_its_line(smooth_field):
    velocity = _float(smooth_field((16, 16, 16)))
    once = exponential_jit(velocity)
    np.testing.assert_allclose(
        exponential_jit(2 * velocity, squarings=7), compose_jit(once, once), atol=1e-5
    )


def test_gradients_agree_with_finite_differences(smooth_field):
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        u, v = (jnp.asarray(rng.uniform(-0.9, 0.9, (6, 7, 2))) for _ in range(2))

        def loss(u, v):
            return jnp.sin(compose(exponential(u, squarings=3), v)).sum()

        assert loss(u, v).dtype == jnp.float64
        check_grads(jax.jit(loss), (u, v), order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-6)
