"""A training step on volumes: the loss and gradient of one device, however they are divided."""

import functools

import jax
import numpy as np
import pytest

from drivenmorph_jax.model import ModelConfig, init, register
from drivenmorph_jax.objective.loss import LossConfig
from drivenmorph_jax.training.augment import AugmentConfig
from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.pair_loss import make_pair_loss
from drivenmorph_jax.training.parallel import make_backend
from drivenmorph_jax.training.state import create_state

pytestmark = pytest.mark.slow

MODEL = ModelConfig(
    channels=(2,),
    iterations=(1, 1),
    demon_channels=2,
    attention_channels=2,
    cross_attention=(1,),
    self_attention=(1,),
    token_channels=2,
    window=2,
    global_tokens=8,
    residual_channels=(0, 2),
    squarings=(0, 1),
)
SHAPE = (6, 16, 6)
OPTIMISER = make_optimiser(OptimiserConfig(), 4)


def one_step(name, **options):
    """Metrics, and Adam's first moment: a tenth of the clipped gradient."""
    loss_fn = make_pair_loss(
        lambda params, fixed, moving: register(params, fixed, moving, MODEL),
        LossConfig(lncc_window=3, dice_weight=1.0),
        AugmentConfig(),
        label_values=(1, 2),
    )
    made = make_backend(name, loss_fn, OPTIMISER, batch=8, ema_decay=0.9, **options)
    params = jax.jit(init, static_argnums=1)(jax.random.key(0), MODEL)
    state = made.place_state(create_state(jax.random.key(1), params, OPTIMISER))
    rng = np.random.default_rng(0)
    batch = {n: rng.uniform(0.5, 1, (8, *SHAPE, 1)).astype(np.float32) for n in ("fixed", "moving")}
    for image in list(batch):
        batch[f"{image}_labels"] = rng.integers(0, 3, (8, *SHAPE)).astype(np.int32)
    state, metrics = made.step(state, made.place_batch(batch))
    moment = next(s for s in jax.tree.leaves(state.opt_state, is_leaf=_is_adam) if _is_adam(s)).mu
    return jax.device_get((metrics, moment))


def _is_adam(node):
    return hasattr(node, "mu")


@pytest.fixture(scope="module")
def single():
    return one_step("single")


@pytest.mark.parametrize(
    "divided",
    [
        pytest.param(functools.partial(one_step, "pmap"), id="pmap"),
        *[
            pytest.param(functools.partial(one_step, "mesh", space=n), id=f"mesh {8 // n}x{n}")
            for n in (1, 2, 4, 8)
        ],
        pytest.param(
            functools.partial(one_step, "mesh", space=2, shard_state=True), id="mesh 4x2, sharded"
        ),
    ],
)
def test_loss_and_gradient_are_those_of_one_device(single, divided):
    (expected, expected_moment), (found, moment) = single, divided()
    assert found == pytest.approx(expected, rel=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected_moment))
    for a, b in zip(jax.tree.leaves(moment), jax.tree.leaves(expected_moment), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * largest)
