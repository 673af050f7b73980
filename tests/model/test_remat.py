"""What is worked out again changes memory and time, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import init, register


@pytest.mark.slow
def test_gradients_are_equal_and_memory_falls(tiny, perturbed, brain):
    cfg = dataclasses.replace(tiny, iterations=(4, 3))
    params = perturbed(init(jax.random.key(0), cfg))
    pair = brain(1, (24, 20, 22)), brain(2, (24, 20, 22))

    def compiled(remat):
        def loss(params, fixed, moving):
            result = register(params, fixed, moving, cfg, remat=remat)
            return jnp.sum(result.displacement**2)

        return jax.jit(jax.grad(loss)).lower(params, *pair).compile()

    programs = {remat: compiled(remat) for remat in ("none", "iterations")}
    memory = [p.memory_analysis().temp_size_in_bytes for p in programs.values()]
    assert memory[1] < 0.5 * memory[0], memory
    gradients = [jax.tree.leaves(program(params, *pair)) for program in programs.values()]
    # Of the whole gradient: what a normalisation takes away again has none but rounding.
    size = max(float(jnp.abs(leaf).max()) for leaf in gradients[0])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(other / size, one / size, rtol=0, atol=1e-5)
