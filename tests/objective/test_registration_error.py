"""Registration error against maps that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective import registration_error as module
from drivenmorph_jax.objective.registration_error import KnownMaps
from drivenmorph_jax.spatial.fields import compose, exponential
from drivenmorph_jax.spatial.filters import gaussian_smooth

SHAPE = (18, 20, 16)
INSIDE = jnp.zeros(SHAPE, bool).at[5:-5, 5:-5, 5:-5].set(True)
registration_error = jax.jit(module.registration_error)


def velocity(seed: int):
    noise = jax.random.normal(jax.random.key(seed), (*SHAPE, 3))
    return 12 * gaussian_smooth(noise, (3.0, 3.0, 3.0))


@pytest.fixture(scope="module")
def truth():
    return KnownMaps(exponential(velocity(0)), exponential(velocity(1)), jnp.ones(()))


def test_the_true_map_has_no_error_and_its_opposite_much(truth):
    """m⁻¹ ∘ f, with the inverse of exp(v) as exp(-v)."""
    true = compose(exponential(-velocity(1)), truth.fixed)
    still = registration_error(jnp.zeros_like(true), truth, INSIDE)
    assert still > 0.5
    assert registration_error(true, truth, INSIDE) < 0.02 * still
    assert registration_error(-true, truth, INSIDE) > still


def test_for_translations_it_is_the_distance():
    f, m, u = (
        jnp.broadcast_to(jnp.array(t), (*SHAPE, 3))
        for t in ([1.0, 0, 0], [0, 2.0, 0], [4.0, 2.0, 0])
    )
    error = registration_error(u, KnownMaps(f, m, jnp.ones(())), INSIDE)
    np.testing.assert_allclose(error, 5.0, rtol=1e-6)  # (4 - 1, 2 + 2, 0)


def test_only_the_mask_counts_and_only_where_something_is_known(truth):
    field = jnp.zeros((*SHAPE, 3)) + jnp.where(INSIDE[..., None], 0.0, 9.0)
    still = registration_error(jnp.zeros_like(field), truth, INSIDE)
    np.testing.assert_allclose(registration_error(field, truth, INSIDE), still, rtol=1e-6)
    assert registration_error(field, truth, jnp.ones(SHAPE, bool)) > 2 * still
    unknown = truth._replace(known=jnp.zeros(()))
    assert registration_error(field, unknown, INSIDE) == 0


def test_its_gradient_leads_to_the_true_map_and_is_finite_there(truth):
    gradient = jax.jit(jax.grad(module.registration_error))
    still = jnp.zeros((*SHAPE, 3))
    before = registration_error(still, truth, INSIDE)
    slope = gradient(still, truth, INSIDE)
    step = 0.2 * slope / jnp.abs(slope).max()
    assert registration_error(still - step, truth, INSIDE) < before
    rest = KnownMaps(still, still, jnp.ones(()))
    assert jnp.isfinite(gradient(still, rest, INSIDE)).all()


def test_other_shapes_are_refused(truth):
    with pytest.raises(ValueError, match="one shape"):
        module.registration_error(jnp.zeros((4, 4, 4, 3)), truth, INSIDE)
