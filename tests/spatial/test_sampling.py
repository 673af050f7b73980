"""Sampling against SciPy and SimpleITK, and its derivatives against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import ndimage

from drivenmorph_jax.spatial.sampling import identity_grid, sample, warp

SHAPES = [(7, 6), (5, 6, 7)]
MODES = {"zero": "grid-constant", "edge": "nearest"}


def _image(shape, channels=2, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, channels)).astype(np.float32)


def _points(shape, count=400, margin=2.5, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(-margin, np.array(shape) - 1 + margin, size=(count, len(shape)))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("boundary", ["zero", "edge"])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_scipy(shape, boundary, order):
    image, points = _image(shape), _points(shape)
    expected = np.stack(
        [
            ndimage.map_coordinates(image[..., c], points.T, order=order, mode=MODES[boundary])
            for c in range(2)
        ],
        axis=-1,
    )
    got = sample(
        jnp.asarray(image), jnp.asarray(points, jnp.float32), order=order, boundary=boundary
    )
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("boundary", ["zero", "edge"])
def test_voxels_are_returned_exactly_at_integer_coordinates(boundary):
    image = _image((4, 5, 6))
    np.testing.assert_array_equal(sample(image, identity_grid((4, 5, 6)), boundary=boundary), image)
    np.testing.assert_array_equal(warp(image, jnp.zeros((4, 5, 6, 3)), boundary=boundary), image)


def test_far_points_are_zero_or_the_nearest_corner():
    image = _image((4, 5, 6))
    far = jnp.array([[-1e9, -1e9, -1e9], [1e9, 1e9, 1e9], [1e30, 1e30, 1e30]])
    for order in (0, 1):
        np.testing.assert_array_equal(sample(image, far, order=order), 0)
        got = sample(image, far, order=order, boundary="edge")
        corners = np.stack([image[0, 0, 0], image[-1, -1, -1], image[-1, -1, -1]])
        np.testing.assert_array_equal(got, corners)


def test_axis_of_one_voxel():
    image = _image((1, 5, 4))
    points = jnp.array([[0.0, 2.0, 1.0], [0.5, 2.0, 1.0]])
    np.testing.assert_allclose(
        sample(image, points, boundary="edge"), np.stack([image[0, 2, 1]] * 2), rtol=1e-6
    )
    np.testing.assert_allclose(
        sample(image, points), np.stack([image[0, 2, 1], image[0, 2, 1] / 2]), rtol=1e-6
    )


def test_nearest_keeps_labels():
    labels = np.random.default_rng(0).integers(0, 2036, size=(5, 6, 7, 1)).astype(np.int32)
    displacement = np.random.default_rng(1).uniform(-3, 3, size=(5, 6, 7, 3)).astype(np.float32)
    warped = warp(jnp.asarray(labels), jnp.asarray(displacement), order=0)
    assert warped.dtype == jnp.int32
    assert set(np.unique(warped)) <= set(np.unique(labels)) | {0}
    half = sample(jnp.arange(4)[:, None], jnp.array([[0.5], [1.5], [0.4999], [-0.5]]), order=0)
    np.testing.assert_array_equal(half[:, 0], [1, 2, 0, 0])


def test_displacement_pulls_back():
    image = _image((6, 7, 8), channels=1)
    shift = jnp.broadcast_to(jnp.array([1.0, -2.0, 0.0]), (6, 7, 8, 3))
    np.testing.assert_array_equal(warp(image, shift)[:5, 2:], image[1:, :5])
    np.testing.assert_array_equal(warp(image, shift)[5:], 0)
    np.testing.assert_array_equal(warp(image, shift)[:, :2], 0)


def test_derivative_at_integer_coordinates_is_the_forward_difference():
    """Corners taken by ceiling would give 0 here, and an identity field would never move."""
    image = _image((5, 6, 7), channels=1)
    inner = identity_grid((3, 4, 5)) + 1
    slopes = jax.grad(lambda x: sample(image, x).sum())(inner)
    volume = image[..., 0]
    forward = np.stack([np.diff(volume, axis=0)[1:-1, 1:-1, 1:-1]], axis=-1)
    np.testing.assert_allclose(slopes[:-1, ..., :1], forward[: slopes.shape[0] - 1], atol=1e-6)
    assert (np.abs(slopes) > 0).all()
    everywhere = jax.grad(lambda x: sample(image, x, boundary="edge").sum())(
        identity_grid((5, 6, 7))
    )
    assert (np.abs(everywhere) > 0).all()


@pytest.mark.parametrize("boundary", ["zero", "edge"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_agree_with_finite_differences(shape, boundary):
    with jax.enable_x64(True):
        image = jnp.asarray(_image(shape), jnp.float64)
        points = jnp.asarray(_points(shape, count=30, margin=1.4))

        def loss(image, points):
            return jnp.sin(sample(image, points, boundary=boundary)).sum()

        assert loss(image, points).dtype == jnp.float64
        check_grads(loss, (image, points), order=1, modes=("fwd", "rev"), eps=1e-6, rtol=1e-7)


def test_forward_mode_is_reverse_mode_and_vmap_commutes_with_grad():
    with jax.enable_x64(True):
        images = jnp.asarray(np.stack([_image((5, 6), seed=s) for s in range(3)]), jnp.float64)
        points = jnp.asarray(np.stack([_points((5, 6), 20, seed=s) for s in range(3)]))

        def value(points, image):
            return (sample(image, points) ** 2).sum()

        np.testing.assert_allclose(
            jax.jacfwd(value)(points[0], images[0]),
            jax.jacrev(value)(points[0], images[0]),
            rtol=1e-12,
        )
        one = jax.vmap(jax.grad(value))(points, images)
        other = jax.grad(lambda p: jax.vmap(value)(p, images).sum())(points)
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.tools
def test_warp_is_what_simpleitk_does():
    sitk = pytest.importorskip("SimpleITK")
    shape = (8, 9, 10)
    image = _image(shape, channels=1)
    displacement = np.random.default_rng(2).uniform(-1.5, 1.5, size=(*shape, 3))
    # SimpleITK reads arrays as (z, y, x), and wants vectors as (x, y, z).
    field = sitk.GetImageFromArray(np.ascontiguousarray(displacement[..., ::-1]), isVector=True)
    moving = sitk.GetImageFromArray(image[..., 0])
    expected = sitk.GetArrayFromImage(
        sitk.Resample(moving, moving, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0)
    )
    got = np.asarray(warp(image, jnp.asarray(displacement, jnp.float32)))[..., 0]
    # ITK cuts to 0 at the outermost centres (half a voxel later in fact), we fade over a voxel.
    reached = np.moveaxis(np.indices(shape), 0, -1) + displacement
    inside = ((reached >= 0) & (reached <= np.array(shape) - 1)).all(-1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(got[inside], expected[inside], atol=1e-5)
