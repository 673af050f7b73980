"""Affine matrices against SciPy's rotations and by their properties."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from drivenmorph_jax.spatial.affine import affine_displacement, affine_matrix, transform_points
from drivenmorph_jax.spatial.fields import compose
from drivenmorph_jax.spatial.sampling import identity_grid

ZERO = jnp.zeros(3)


def test_zero_parameters_are_the_identity():
    np.testing.assert_array_equal(affine_matrix(ZERO, ZERO, ZERO, ZERO), np.eye(4))
    matrix = affine_matrix(ZERO, ZERO, ZERO, ZERO)
    np.testing.assert_array_equal(affine_displacement(matrix, (3, 4, 5)), 0)


def test_rotation_is_scipys():
    for seed in range(5):
        vector = np.random.default_rng(seed).uniform(-2, 2, 3)
        matrix = affine_matrix(ZERO, jnp.asarray(vector, jnp.float32), ZERO, ZERO)
        expected = Rotation.from_rotvec(vector).as_matrix()
        np.testing.assert_allclose(matrix[:3, :3], expected, atol=3e-6)
    quarter = affine_matrix(ZERO, jnp.array([0, 0, jnp.pi / 2]), ZERO, ZERO)
    np.testing.assert_allclose(quarter @ jnp.array([1.0, 0, 0, 1]), [0, 1, 0, 1], atol=1e-6)


def test_parts_act_in_the_stated_order():
    translation, shear = jnp.array([1.0, -2, 3]), jnp.array([0.1, 0.2, -0.3])
    rotation, log_scale = jnp.array([0.3, -0.2, 0.5]), jnp.log(jnp.array([1.1, 0.8, 1.3]))
    whole = affine_matrix(translation, rotation, log_scale, shear)
    parts = (
        affine_matrix(translation, ZERO, ZERO, ZERO),
        affine_matrix(ZERO, rotation, ZERO, ZERO),
        affine_matrix(ZERO, ZERO, log_scale, ZERO),
        affine_matrix(ZERO, ZERO, ZERO, shear),
    )
    product = jnp.linalg.multi_dot(parts)
    np.testing.assert_allclose(whole, product, atol=1e-6)
    np.testing.assert_allclose(jnp.diag(parts[2])[:3], [1.1, 0.8, 1.3], rtol=1e-6)
    np.testing.assert_allclose(parts[3][0, 1:3], [0.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(parts[3][1, 2], -0.3, rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.det(whole), 1.1 * 0.8 * 1.3, rtol=1e-5)
    np.testing.assert_array_equal(whole[3], [0, 0, 0, 1])


def test_displacement_is_the_map_less_the_place():
    matrix = affine_matrix(
        jnp.array([1.0, 0.5, -1]), jnp.array([0.1, 0.2, 0.1]), ZERO, jnp.array([0.1, 0, 0])
    )
    displacement = affine_displacement(matrix, (4, 5, 6))
    homogeneous = matrix @ jnp.array([3.0, 1.0, 5.0, 1.0])
    np.testing.assert_allclose(
        displacement[3, 1, 5], homogeneous[:3] - jnp.array([3.0, 1.0, 5.0]), atol=1e-6
    )


def test_composition_of_fields_is_the_product_of_matrices():
    a = affine_matrix(ZERO, jnp.array([0.1, -0.05, 0.1]), ZERO, ZERO)
    b = affine_matrix(jnp.array([0.4, -0.3, 0.2]), ZERO, jnp.array([0.02, -0.03, 0.01]), ZERO)
    shape = (12, 12, 12)
    got = compose(affine_displacement(a, shape), affine_displacement(b, shape))
    expected = affine_displacement(a @ b, shape)
    inside = np.s_[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(got[inside], expected[inside], atol=1e-5)


def test_points_of_any_leading_shape():
    matrix = affine_matrix(jnp.array([1.0, 2, 3]), ZERO, ZERO, ZERO)
    for points in (jnp.ones(3), jnp.ones((4, 3)), identity_grid((2, 3, 4))):
        np.testing.assert_array_equal(
            transform_points(matrix, points), np.asarray(points) + np.array([1, 2, 3])
        )


def test_derivatives_exist_at_the_identity_and_float64_flows():
    def entries(p):
        return affine_matrix(p[:3], p[3:6], p[6:9], p[9:])

    with jax.enable_x64(True):
        slopes = jax.jit(jax.jacfwd(entries))(jnp.zeros(12))
        assert slopes.dtype == jnp.float64
        np.testing.assert_allclose(slopes[1, 0, 5], 1, atol=1e-12)  # about z: x towards y
        np.testing.assert_allclose(slopes[0, 1, 5], -1, atol=1e-12)
        np.testing.assert_allclose(slopes[0, 0, 6], 1, atol=1e-12)
        np.testing.assert_allclose(slopes[0, 1, 9], 1, atol=1e-12)
        weights = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)))
        reverse = jax.jit(jax.grad(lambda p: (weights * entries(p)).sum()))(jnp.zeros(12))
        np.testing.assert_allclose(reverse, jnp.tensordot(weights, slopes, 2), atol=1e-12)
        assert affine_displacement(entries(jnp.zeros(12)), (2, 2, 2)).dtype == jnp.float64
