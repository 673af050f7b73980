"""The model and its training step compile for accelerators that are not here."""

import jax
import jax.numpy as jnp
import pytest

from drivenmorph_jax.model import ModelConfig, init, register
from drivenmorph_jax.objective.loss import LossConfig
from drivenmorph_jax.training.augment import AugmentConfig
from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.pair_loss import make_pair_loss
from drivenmorph_jax.training.state import create_state
from drivenmorph_jax.training.step import make_step

MODEL = ModelConfig(
    channels=(4, 4),
    iterations=(1, 1, 2),
    cross_attention=(1, 2),
    self_attention=(0, 1, 2),
    residual_channels=(0, 2, 2),
    token_channels=4,
)
SHAPE = (16, 16, 16)


def apply(params, fixed, moving):
    return register(params, fixed, moving, MODEL)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_register_lowers(platform):
    params = jax.eval_shape(lambda: init(jax.random.key(0), MODEL))
    image = jax.ShapeDtypeStruct((*SHAPE, 1), jnp.float32)
    exported = jax.export.export(
        jax.jit(lambda *args: apply(*args).displacement), platforms=[platform]
    )(params, image, image)
    assert exported.platforms == (platform,)
    assert exported.out_avals[0].shape == (*SHAPE, 3)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_training_step_lowers(platform):
    optimiser = make_optimiser(OptimiserConfig(), 10)
    loss = LossConfig(dice_weight=1.0, jacobian_weight=1.0)
    loss_fn = make_pair_loss(apply, loss, AugmentConfig(), label_values=(1, 2))

    def step(key_data, batch):
        # Keys cross the border of an exported program as plain integers.
        key = jax.random.wrap_key_data(key_data)
        state = create_state(key, init(key, MODEL), optimiser)
        return make_step(loss_fn, optimiser, ema_decay=0.99)(state, batch)[1]

    images = jax.ShapeDtypeStruct((2, *SHAPE, 1), jnp.float32)
    labels = jax.ShapeDtypeStruct((2, *SHAPE), jnp.int32)
    batch = {
        "fixed": images,
        "moving": images,
        "fixed_labels": labels,
        "moving_labels": labels,
    }
    exported = jax.export.export(jax.jit(step), platforms=[platform])(
        jax.ShapeDtypeStruct((2,), jnp.uint32), batch
    )
    assert exported.platforms == (platform,)
