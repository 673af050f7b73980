"""A registration whose volumes are split over devices is that of one device."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from drivenmorph_jax.model import init, register
from drivenmorph_jax.objective.loss import LossConfig, registration_loss
from drivenmorph_jax.spatial.split import SPACE
from tests.spatial.test_split_compiled import EVERYTHING

SHAPE = (9, 32, 10)


@pytest.mark.slow
def test_displacement_loss_and_gradient(perturbed, brain):
    cfg = LossConfig(jacobian_weight=1.0)
    params = perturbed(jax.jit(init, static_argnums=1)(jax.random.key(0), EVERYTHING))

    def loss(params, fixed, moving):
        registration = register(params, fixed, moving, EVERYTHING)
        loss, _ = registration_loss(registration, fixed, moving, cfg)
        return loss, registration.displacement

    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    pair = [brain(seed, SHAPE) for seed in (1, 2)]
    (expected_loss, expected), expected_gradient = jax.device_get(both(params, *pair))
    assert np.abs(expected).max() > 0.1
    mesh = jax.make_mesh((2, 4), ("data", SPACE), (AxisType.Auto, AxisType.Auto))
    split = NamedSharding(mesh, PartitionSpec(None, SPACE))
    with jax.set_mesh(mesh):
        answer = both(params, *(jax.device_put(image, split) for image in pair))
    (found_loss, found), found_gradient = jax.device_get(answer)
    assert found_loss == pytest.approx(expected_loss, rel=1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    for a, b in zip(
        jax.tree.leaves(found_gradient), jax.tree.leaves(expected_gradient), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))
