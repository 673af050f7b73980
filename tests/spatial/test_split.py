"""Volumes split over devices: every operation as on one device, and none that gathers a volume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from drivenmorph_jax.spatial.convolution import convolve
from drivenmorph_jax.spatial.fields import exponential
from drivenmorph_jax.spatial.filters import box_mean, gaussian_smooth, gradient, laplacian, maximum
from drivenmorph_jax.spatial.jacobian import fourth_order_volume, least_corner_volume
from drivenmorph_jax.spatial.resize import downsample, upsample_displacement
from drivenmorph_jax.spatial.sampling import sample, warp
from drivenmorph_jax.spatial.split import SPACE, is_split

SHAPE = (5, 16, 6)
SLOW = pytest.mark.slow


def mesh(space=4):
    return jax.make_mesh(
        (8 // space, space), ("data", SPACE), axis_types=(AxisType.Auto, AxisType.Auto)
    )


def random(shape, seed=0, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=shape), jnp.float32)


def assert_split_equals_whole(function, *arguments, space=4, atol=1e-5):
    """Value, and the gradient of a fixed random projection of it, by every argument."""

    def projected(*arguments):
        value = function(*arguments)
        weights = [random(leaf.shape, 99 + n) for n, leaf in enumerate(jax.tree.leaves(value))]
        parts = zip(weights, jax.tree.leaves(value), strict=True)
        return sum((weight * leaf).sum() for weight, leaf in parts), value

    def both(*arguments):
        everything = tuple(range(len(arguments)))
        return jax.value_and_grad(projected, argnums=everything, has_aux=True)(*arguments)

    (_, expected), expected_gradient = jax.jit(both)(*arguments)
    split = NamedSharding(mesh(space), PartitionSpec(None, SPACE))
    with jax.set_mesh(mesh(space)):
        placed = [
            jax.device_put(x, split) if x.ndim == 4 and x.shape[1] % space == 0 else x
            for x in arguments
        ]
        (_, found), found_gradient = jax.jit(both)(*placed)
    found, expected = jax.device_get(((found, found_gradient), (expected, expected_gradient)))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol * max(1, np.abs(b).max()))


def test_nothing_is_split_without_a_mesh():
    assert not is_split(SHAPE)
    with jax.set_mesh(mesh(4)):
        assert is_split((*SHAPE, 1), (2, *SHAPE, 1))
        assert not is_split((5, 18, 6, 1)) and not is_split((16, 6, 1))
    with jax.set_mesh(mesh(1)):
        assert not is_split((*SHAPE, 1))


# Displacements that mostly stay within a slab, and such as go far beyond the volume.
@pytest.mark.parametrize(
    ("boundary", "reach"),
    [
        pytest.param("zero", 0.4, marks=SLOW),
        pytest.param("edge", 0.4, marks=SLOW),
        ("zero", 40.0),
        ("edge", 40.0),
    ],
)
def test_warp(boundary, reach):
    assert_split_equals_whole(
        lambda image, u: warp(image, u, boundary=boundary),
        random((*SHAPE, 2)),
        random((*SHAPE, 3), 1, reach),
    )


@SLOW
def test_sampling_onto_another_grid():
    coordinates = random((4, 8, 3, 3), 1, 5.0) + 6
    assert_split_equals_whole(sample, random((*SHAPE, 2)), coordinates)


def test_labels_by_nearest_neighbour():
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 9, (*SHAPE, 1)))
    displacement = random((*SHAPE, 3), 1, 20.0)
    for boundary in ("zero", "edge"):
        function = jax.jit(lambda x, u, b=boundary: warp(x, u, order=0, boundary=b))
        expected = function(labels, displacement)
        with jax.set_mesh(mesh(8)):
            found = function(labels, displacement)
        assert found.dtype == labels.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: gaussian_smooth(x, 1.3), id="gaussian"),
        pytest.param(lambda x: box_mean(x, 11), id="box that reaches beyond the next slab"),
        pytest.param(lambda x: box_mean(x, 3), id="box"),
        pytest.param(lambda x: maximum(jnp.abs(x), 3), id="maximum"),
        pytest.param(gradient, id="gradient"),
        pytest.param(least_corner_volume, id="corners"),
        pytest.param(fourth_order_volume, id="fourth order"),
        pytest.param(laplacian, id="laplacian"),
        pytest.param(downsample, id="downsample"),
        pytest.param(lambda x: upsample_displacement(x, (9, 32, 12)), id="upsample"),
        pytest.param(
            lambda x: upsample_displacement(x, (10, 31, 12)), id="upsample to odd", marks=SLOW
        ),
        pytest.param(lambda x: exponential(x, squarings=2), id="exponential", marks=SLOW),
    ],
)
def test_filters_and_grids(function):
    assert_split_equals_whole(function, random((*SHAPE, 3)), space=8 if function is gradient else 4)


def test_smoothing_by_its_width():
    assert_split_equals_whole(
        lambda x, sigma: gaussian_smooth(x, jnp.exp(sigma)), random((*SHAPE, 3)), jnp.float32(0.3)
    )


def test_convolution():
    def function(image, kernel):
        return convolve(image[None], kernel)[0]

    assert_split_equals_whole(function, random((*SHAPE, 2)), random((3, 3, 3, 2, 4), 1))
