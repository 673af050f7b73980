"""Inverse fields: closed forms, a diverging fixed point, and the implicit derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import ndimage
from scipy.spatial.transform import Rotation

from drivenmorph_jax.spatial.fields import compose
from drivenmorph_jax.spatial.inverse import invert

invert_jit = jax.jit(invert)


def _linear(matrix, shape, *, offset=0.0):
    """(A - I)(x - c): the displacement of A about the middle of the grid."""
    grid = np.moveaxis(np.indices(shape, float), 0, -1) - (np.array(shape) - 1) / 2 - offset
    return (grid @ (np.asarray(matrix) - np.eye(len(shape))).T).astype(np.float32)


def _plain_fixed_point(u, iterations=60):
    grid = np.indices(u.shape[:-1], float)
    w = np.zeros_like(u)
    for _ in range(iterations):
        at = grid + np.moveaxis(w, -1, 0)
        w = -np.stack(
            [ndimage.map_coordinates(u[..., i], at, order=1, mode="nearest") for i in range(3)], -1
        )
    at = grid + np.moveaxis(w, -1, 0)
    there = [ndimage.map_coordinates(u[..., i], at, order=1, mode="nearest") for i in range(3)]
    return np.linalg.norm(w + np.stack(there, -1), axis=-1)


def test_translation():
    u = jnp.broadcast_to(jnp.array([0.75, -1.25, 2.0]), (6, 7, 8, 3))
    inverse = invert_jit(u)
    np.testing.assert_allclose(inverse.displacement, -u, atol=1e-5)
    np.testing.assert_allclose(inverse.residual, 0, atol=1e-5)


@pytest.mark.parametrize("n", [2, 3])
def test_linear_map(n, ball):
    shape = (12, 13, 12)[:n]
    matrix = np.array([[1.1, 0.2, -0.1], [-0.15, 0.9, 0.1], [0.05, -0.1, 1.05]])[:n, :n]
    inverse = invert_jit(jnp.asarray(_linear(matrix, shape)))
    expected = _linear(np.linalg.inv(matrix), shape)
    inner = ball(shape, 4)
    np.testing.assert_allclose(inverse.displacement[inner], expected[inner], atol=5e-4)
    assert inverse.residual[inner].max() < 1e-4


def test_smooth_field_both_ways(smooth_field):
    u = jnp.asarray(smooth_field((14, 15, 16), amplitude=0.7), jnp.float32)
    inverse = invert_jit(u)
    assert inverse.residual.max() < 1e-4
    # w + u(x + w) is what was solved; the other order is an inverse up to interpolation.
    np.testing.assert_allclose(compose(u, inverse.displacement), 0, atol=1e-4)
    assert jnp.abs(compose(inverse.displacement, u)).max() < 0.1 < jnp.abs(u).max() / 5


@pytest.mark.parametrize(
    "matrix",
    [
        Rotation.from_rotvec([0.3, 1.2, 1.0]).as_matrix(),  # 90 degrees: Lip(u) = 1.4
        2.8 * np.eye(3),  # Lip(u) = 1.8
        np.array([[1, 0, 0], [0, 1, 1.6], [0, 0, 1.0]]) @ np.diag([1, 2.0, 2.0]),
    ],
)
def test_newton_inverts_where_the_fixed_point_diverges(matrix, ball):
    shape = (13, 13, 13)
    u = _linear(matrix, shape)
    inner = ball(shape, 4.5 if np.linalg.norm(matrix, 2) < 1.1 else 2.5)
    assert np.linalg.norm(matrix - np.eye(3), 2) > 1
    assert _plain_fixed_point(u)[inner].max() > 0.5
    inverse = invert_jit(jnp.asarray(u))
    assert inverse.residual[inner].max() < 1e-3
    expected = _linear(np.linalg.inv(matrix), shape)
    np.testing.assert_allclose(inverse.displacement[inner], expected[inner], atol=2e-3)


def test_residual_tells_where_no_inverse_exists():
    """Values that are no displacement at all: nothing is raised, and the residual says so."""
    u = np.zeros((12, 12, 2), np.float32)
    u[6] = np.nan
    inverse = invert_jit(jnp.asarray(u))
    assert not (inverse.residual[6] < 0.1).any()
    np.testing.assert_array_equal(inverse.residual[:4], 0)


@pytest.mark.parametrize("shape", [(7, 6), pytest.param((7, 6, 7), marks=pytest.mark.slow)])
def test_implicit_gradient_agrees_with_finite_differences(shape, smooth_field):
    with jax.enable_x64(True):
        u = jnp.asarray(smooth_field(shape, amplitude=1.0) + 0.11)
        weights = jnp.asarray(np.random.default_rng(0).normal(size=u.shape))

        @jax.jit
        def loss(u):
            w = invert(u, tolerance=1e-13, iterations=100).displacement
            return (weights * w).sum() + (w**2).sum()

        assert loss(u).dtype == jnp.float64
        check_grads(loss, (u,), order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-6)


def test_implicit_gradient_under_strong_compression():
    """det = 0.06: a floor on the determinant that Newton may use would falsify the derivative."""
    with jax.enable_x64(True):
        u = jnp.asarray(_linear(0.25 * np.eye(2), (11, 11), offset=0.031), jnp.float64)

        @jax.jit
        def loss(u):
            w = invert(u, tolerance=1e-13, iterations=200).displacement
            return jnp.sin(w[5:7, 5:7]).sum()

        check_grads(loss, (u,), order=1, modes=("rev",), eps=1e-6, rtol=1e-5)


def test_derivatives_are_finite_at_the_identity():
    def loss(u):
        inverse = invert(u)
        return (inverse.displacement**2).sum() + 0.0 * inverse.residual.sum()

    u = jnp.zeros((5, 5, 2))
    assert np.isfinite(jax.jit(jax.grad(loss))(u)).all()


def test_vmap_gives_what_single_fields_give(smooth_field):
    fields = jnp.asarray(np.stack([smooth_field((10, 10), seed=s) for s in range(3)]), jnp.float32)
    together = jax.jit(jax.vmap(invert))(fields)
    for field, w in zip(fields, together.displacement, strict=True):
        # Each field stops by itself when alone, all go on to the last one's end together.
        np.testing.assert_allclose(w, invert_jit(field).displacement, atol=2e-4)
