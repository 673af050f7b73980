"""What is worked out again changes memory and time, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import register


@pytest.mark.slow
def test_gradients_are_equal_and_memory_falls(tiny, compiled_init, perturbed, brain):
    cfg = dataclasses.replace(tiny, iterations=(4, 3))
    params = perturbed(compiled_init(jax.random.key(0), cfg))
    pair = brain(1, (24, 20, 22)), brain(2, (24, 20, 22))

    def compiled(remat):
        def loss(params, fixed, moving):
            result = register(params, fixed, moving, cfg, remat=remat)
            return jnp.sum(result.displacement**2)

        return jax.jit(jax.grad(loss)).lower(params, *pair).compile()

    programs = {remat: compiled(remat) for remat in ("none", "iterations", "levels")}
    memory = [p.memory_analysis().temp_size_in_bytes for p in programs.values()]
    assert memory[1] < 0.8 * memory[0] and memory[2] < 0.9 * memory[1], memory
    gradients = [jax.tree.leaves(program(params, *pair)) for program in programs.values()]
    for leaves in zip(*gradients, strict=True):
        size = max(float(jnp.abs(leaves[0]).max()), 1e-3)
        for other in leaves[1:]:
            np.testing.assert_allclose(other / size, leaves[0] / size, atol=1e-4)
