"""A boundary that XLA's fusion on CPU does not cross."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def materialise(x: Float[Array, "*space c"]) -> Float[Array, "*space c"]:
    """The same values, computed once and stored, however many readers they have.

    On CPU, XLA repeats cheap producers in each of their readers, and takes the interpolation of
    `sample` apart for it; `lax.optimization_barrier` is gone by then. A product with the unit
    matrix, exact there for finite values, is never repeated. Elsewhere nothing is done.
    """
    return lax.platform_dependent(
        x,
        cpu=lambda x: x @ jnp.eye(x.shape[-1], dtype=x.dtype),
        default=lambda x: x,
    )
