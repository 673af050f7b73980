"""Losses of volumes that are split over devices are those of one device, and so are gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from drivenmorph_jax.objective.mind import mind
from drivenmorph_jax.objective.mutual_information import mutual_information
from drivenmorph_jax.objective.regularity import bending_energy, diffusion, jacobian_hinge
from drivenmorph_jax.objective.similarity import lncc
from drivenmorph_jax.spatial.split import SPACE
from tests.spatial.compiled import largest

SHAPE = (6, 32, 7)


def images(seed, channels=1):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(*SHAPE, channels)), jnp.float32)


def of_images(similarity):
    mask = np.random.default_rng(5).uniform(size=SHAPE) < 0.7
    return lambda fixed: similarity(fixed, images(1), mask=mask)


@pytest.mark.parametrize(
    ("function", "channels"),
    [
        pytest.param(of_images(lncc), 1, id="lncc"),
        pytest.param(of_images(mutual_information), 1, id="mi"),
        pytest.param(of_images(mind), 1, id="mind"),
        pytest.param(diffusion, 3, id="diffusion"),
        pytest.param(bending_energy, 3, id="bending"),
        pytest.param(jacobian_hinge, 3, id="jacobian"),
    ],
)
def test_loss_and_gradient(function, channels):
    argument = images(0, channels)
    both = jax.jit(jax.value_and_grad(function))
    expected, expected_gradient = jax.device_get(both(argument))
    mesh = jax.make_mesh((2, 4), ("data", SPACE), (AxisType.Auto, AxisType.Auto))
    with jax.set_mesh(mesh):
        argument = jax.device_put(argument, NamedSharding(mesh, PartitionSpec(None, SPACE)))
        value, gradient = jax.device_get(both(argument))
        gathered = largest("all-gather", lambda x: jax.value_and_grad(function)(x), argument)
    assert value == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        gradient, expected_gradient, rtol=0, atol=1e-5 * np.abs(expected_gradient).max()
    )
    assert gathered < np.prod(SHAPE)
