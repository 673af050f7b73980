import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.accumulation import accumulated_gradient
from drivenmorph_jax.training.optimiser import make_optimiser
from drivenmorph_jax.training.parallel import make_backend
from drivenmorph_jax.training.settings import TrainingConfig


def backend(tiny, name, accumulate, batch=32):
    optimiser = make_optimiser(tiny.OPTIMISER, 6)
    return make_backend(
        name, tiny.loss_fn, optimiser, batch=batch, ema_decay=0.9, accumulate=accumulate
    )


def run(tiny, name, accumulate):
    made = backend(tiny, name, accumulate)
    state, batches, logged = made.place_state(tiny.new_state()), tiny.Batches(32), []
    for _ in range(3):
        state, metrics = made.step(state, made.place_batch(next(batches)))
        logged.append({name: float(value) for name, value in metrics.items()})
    return jax.device_get(state.opt_state), logged


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_give_the_loss_and_gradient_of_the_whole(tiny, parts):
    params, batch = tiny.new_state().params, next(tiny.Batches(8))
    keys = jax.random.split(jax.random.key(0), 8)
    whole = jax.jit(accumulated_gradient(tiny.loss_fn, 1))(params, batch, keys)
    found = jax.jit(accumulated_gradient(tiny.loss_fn, parts))(params, batch, keys)
    assert jax.tree.structure(whole) == jax.tree.structure(found)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(found), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=1e-6, atol=1e-6)


def test_every_example_keeps_its_own_draws(tiny):
    """The loss weighs each example's draw, so that it tells which example drew what."""

    def drawn(params, batch, keys):
        bits = jax.vmap(lambda key: jax.random.uniform(key))(keys)
        loss = jnp.mean(params * bits * batch)
        return loss, {}

    keys, weights = jax.random.split(jax.random.key(1), 6), jnp.arange(6.0) ** 3
    (whole, _), _ = accumulated_gradient(drawn, 1)(jnp.ones(()), weights, keys)
    (parts, _), _ = accumulated_gradient(drawn, 3)(jnp.ones(()), weights, keys)
    (other, _), _ = accumulated_gradient(drawn, 3)(jnp.ones(()), weights, keys[::-1])
    assert float(parts) == pytest.approx(float(whole), rel=1e-6)
    assert float(other) != pytest.approx(float(whole), rel=1e-2)


@pytest.mark.parametrize("name", ["single", "pmap", "mesh"])
def test_every_backend_steps_as_with_the_whole_batch(tiny, name):
    moments, logged = run(tiny, "single", 1)
    found, found_logged = run(tiny, name, 4)
    for a, b in zip(logged, found_logged, strict=True):
        assert b == pytest.approx(a, rel=3e-6)
    for a, b in zip(jax.tree.leaves(moments), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_the_parts_hold_less_memory():
    def loss_fn(params, batch, keys):
        hidden = batch
        for _ in range(4):
            hidden = jnp.sin(hidden * params)
        return jnp.mean(hidden**2), {}

    batch, keys = jnp.ones((16, 4096)), jax.random.split(jax.random.key(0), 16)

    def temporaries(parts):
        gradient = jax.jit(accumulated_gradient(loss_fn, parts))
        compiled = gradient.lower(jnp.ones(4096)[None], batch, keys).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(8) < temporaries(1) / 3


def test_a_batch_that_does_not_divide_is_refused(tiny):
    with pytest.raises(InputError, match=r"accumulate is 3.*32 pair.*multiple of 3"):
        backend(tiny, "single", 3)
    with pytest.raises(InputError, match=r"accumulate is 3.*4 pair.*multiple of 24"):
        backend(tiny, "mesh", 3)
    with pytest.raises(InputError, match=r"training\.accumulate is 0: at least 1"):
        TrainingConfig(accumulate=0)
