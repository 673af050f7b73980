from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from drivenmorph_jax.training.optimiser import (
    OptimiserConfig,
    learning_rate_schedule,
    make_optimiser,
    update_average,
)


def test_schedule_rises_to_the_peak_then_falls_along_a_cosine():
    cfg = OptimiserConfig(learning_rate=2.0, warmup_steps=10, final_fraction=0.1)
    rate = learning_rate_schedule(cfg, 110)
    rates = np.array([np.asarray(rate(n)) for n in range(111)])
    assert rates[0] > 0
    assert np.all(np.diff(rates[:11]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[10] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(0.2 + 0.9)  # Half way: the mean of peak and end.
    assert rates[110] == pytest.approx(0.2)


def test_warm_up_takes_at_most_half_of_a_short_run():
    rate = learning_rate_schedule(OptimiserConfig(learning_rate=1.0, warmup_steps=100), 4)
    assert np.asarray(rate(2)) == pytest.approx(1.0)


def test_average_of_constant_parameters_has_a_closed_form():
    decay, steps = 0.5, 6
    average = {"w": jnp.zeros(2)}
    for step in range(steps):
        average = update_average(average, {"w": jnp.ones(2)}, jnp.int32(step), decay)
    rates = [min(decay, (1 + t) / (10 + t)) for t in range(steps)]
    np.testing.assert_allclose(average["w"], 1 - np.prod(rates), rtol=1e-6)


def test_only_kernels_decay():
    cfg = OptimiserConfig(weight_decay=0.5, warmup_steps=0)
    optimiser = make_optimiser(cfg, 10)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    updates: Any = optimiser.update(zero, optimiser.init(params), params)[0]
    assert np.all(np.asarray(updates["kernel"]) < 0)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_a_huge_gradient_is_clipped_to_the_norm():
    cfg = OptimiserConfig(clip_norm=1.0)
    clip = make_optimiser(cfg, 10)
    params = {"w": jnp.ones((2, 2))}
    state = clip.init(params)
    _, after = clip.update({"w": jnp.full((2, 2), 1e6)}, state, params)
    momentum = optax.tree.get(after, "mu")["w"]
    np.testing.assert_allclose(jnp.linalg.norm(momentum), (1 - cfg.beta1) * 1.0, rtol=1e-5)
