"""A boundary for CPU alone that changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from drivenmorph_jax.spatial.materialise import materialise


def test_values_and_derivatives_are_unchanged():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5, 2)), jnp.float32)
    np.testing.assert_array_equal(jax.jit(materialise)(x), x)
    value, slope = jax.jvp(lambda x: materialise(x).sum(), (x,), (2 * x,))
    np.testing.assert_allclose(slope, 2 * value, rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(lambda x: (materialise(x) * x).sum())(x), 2 * x)


def test_it_is_a_product_on_cpu_and_nothing_elsewhere():
    def products(platform: str) -> int:
        traced = jax.jit(materialise).trace(jnp.ones((3, 4, 5, 2)))
        return traced.lower(lowering_platforms=(platform,)).as_text().count("dot_general")

    assert products("cpu") == 1
    assert products("cuda") == products("tpu") == 0
