"""What crosses between devices that share a volume: borders and slabs, never the volume."""

import math

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from drivenmorph_jax.model import ModelConfig, init, register
from drivenmorph_jax.objective.loss import LossConfig, registration_loss
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.spatial.split import SPACE
from tests.spatial.compiled import largest

SHAPE = (8, 32, 12)
SPACE_DEVICES = 4

# Every part of the default architecture, at full resolution too; the windows of level 0 lie within
# the slabs, at level 1 all tokens see each other.
EVERYTHING = ModelConfig(
    channels=(4,),
    iterations=(1, 2),
    demon_channels=3,
    attention_channels=4,
    cross_attention=(0, 1),
    self_attention=(0, 1),
    token_channels=4,
    window=2,
    global_tokens=100,
    residual_channels=(0, 2),
    squarings=(1, 1),
)


def mesh():
    return jax.make_mesh(
        (2, SPACE_DEVICES), ("data", SPACE), axis_types=(AxisType.Auto, AxisType.Auto)
    )


def volume(channels):
    return jax.ShapeDtypeStruct(
        (*SHAPE, channels),
        jnp.float32,
        sharding=NamedSharding(mesh(), PartitionSpec(None, SPACE)),
    )


def without_split(monkeypatch):
    """All left to XLA."""
    for module in ("sampling.is_split", "split.is_split"):
        monkeypatch.setattr(f"drivenmorph_jax.spatial.{module}", lambda *_: False)


def smoothed(field):
    return jax.grad(lambda f: (gaussian_smooth(f, 1.0) ** 2).sum())(field)


def warped(image, displacement):
    return jax.grad(lambda i, u: (warp(i, u) ** 2).sum(), argnums=(0, 1))(image, displacement)


@pytest.mark.parametrize(
    ("function", "channels"), [(smoothed, (3,)), (warped, (2, 3))], ids=["smoothing", "warp"]
)
def test_no_volume_is_gathered_or_summed(function, channels, monkeypatch):
    arguments = [volume(c) for c in channels]
    slab = math.prod(SHAPE) * min(channels) // SPACE_DEVICES
    with jax.set_mesh(mesh()):
        for operation in ("all-gather", "all-reduce"):
            assert largest(operation, function, *arguments) < slab
        # What XLA makes of the same function by itself, which this test is there to notice.
        without_split(monkeypatch)
        moved = [
            largest(o, lambda *a: function(*a), *arguments) for o in ("all-gather", "all-reduce")
        ]
    assert max(moved) >= math.prod(SHAPE) * min(channels)


@pytest.mark.slow
def test_the_whole_model_and_its_gradient_gather_no_map_of_full_resolution():
    def loss(params, fixed, moving):
        registration = register(params, fixed, moving, EVERYTHING)
        return registration_loss(registration, fixed, moving, LossConfig())[0]

    params = jax.eval_shape(lambda: init(jax.random.key(0), EVERYTHING))
    with jax.set_mesh(mesh()):
        gathered = largest("all-gather", jax.value_and_grad(loss), params, volume(1), volume(1))
    assert 0 < gathered < math.prod(SHAPE)
