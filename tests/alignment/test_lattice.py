"""Reduction of images to lattices."""

import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.alignment.lattice import lattice, locate_brain


def test_moments_of_a_box():
    image = np.zeros((12, 14, 16), np.float32)
    image[2:8, 3:11, 4:14] = 5
    brain = locate_brain(jnp.asarray(image))
    np.testing.assert_allclose(brain.centre, [4.5, 6.5, 8.5], atol=1e-5)
    np.testing.assert_allclose(
        brain.covariance, np.diag([(n**2 - 1) / 12 for n in (6, 8, 10)]), atol=1e-4
    )


def test_moments_see_correlation():
    image = np.zeros((20, 20, 20), np.float32)
    for i in range(20):
        image[i, i, 10] = 1
    brain = locate_brain(jnp.asarray(image))
    np.testing.assert_allclose(brain.covariance[0, 1], (20**2 - 1) / 12, rtol=1e-5)
    np.testing.assert_allclose(brain.covariance[1, 0], brain.covariance[0, 1])


@pytest.mark.parametrize("tight", [True, False])
def test_lattice_samples_the_image_where_it_says(tight):
    # A linear ramp is unchanged by a symmetric blur: every lattice point must hold its own place.
    affine = np.array([[-2.0, 0, 0, 30], [0, 0, 1.5, -20], [0, 1, 0, 7], [0, 0, 0, 1]], np.float32)
    shape = (24, 40, 30)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    image = jnp.asarray(world[..., 0] + 200, jnp.float32)
    brain = locate_brain(image)
    result = lattice(image, jnp.asarray(affine), brain, 10, tight=tight, resolution=10)
    assert result.values.shape == (10, 10, 10, 2)
    middle = np.stack(np.meshgrid(*[np.arange(10)] * 3, indexing="ij"), axis=-1) - 4.5
    points = middle @ np.asarray(result.axes).T + np.asarray(result.centre)
    inside = np.asarray(result.values[..., 1]) > 0.98
    assert inside.sum() > 8
    share = np.asarray(result.values[..., 0] / result.values[..., 1])
    np.testing.assert_allclose(share[inside], points[inside][:, 0] + 200, atol=0.3)


def test_radius_is_the_root_mean_square_distance():
    image = jnp.ones((16, 16, 16))
    affine = jnp.diag(jnp.array([2.0, 2.0, 2.0, 1.0]))
    result = lattice(image, affine, locate_brain(image), 8, tight=False, resolution=8)
    np.testing.assert_allclose(result.radius, 2 * np.sqrt(3 * (16**2 - 1) / 12), rtol=1e-5)
