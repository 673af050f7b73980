"""A training step on volumes: the loss and gradient of one device, however they are divided."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective.similarity import lncc
from drivenmorph_jax.spatial.convolution import convolve
from drivenmorph_jax.spatial.filters import gaussian_smooth
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.parallel import make_backend
from drivenmorph_jax.training.state import create_state

SHAPE = (6, 16, 6)
OPTIMISER = make_optimiser(OptimiserConfig(), 4)


def loss_fn(params, batch, keys):
    """A registration without a pyramid: what is exchanged between slabs, and a draw of its own."""

    def of_pair(pair, key):
        fixed = pair["fixed"] + 0.1 * jax.random.normal(key, pair["fixed"].shape)
        force = convolve((fixed - pair["moving"])[None], params["kernel"])[0]
        displacement = gaussian_smooth(5 * force, params["sigma"])
        labels = warp(pair["moving_labels"][..., None], displacement, order=0)
        loss = lncc(fixed, warp(pair["moving"], displacement), window=3)
        return loss, {"largest": jnp.abs(displacement).max(), "labels": labels.mean()}

    return jax.tree.map(jnp.mean, jax.vmap(of_pair)(batch, keys))


def one_step(name, **options):
    """Metrics, and Adam's first moment: a tenth of the clipped gradient."""
    made = make_backend(name, loss_fn, OPTIMISER, batch=8, ema_decay=0.9, **options)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 1, 3)).astype(np.float32)
    params = {"kernel": jnp.asarray(kernel), "sigma": jnp.float32(0.8)}
    state = made.place_state(create_state(jax.random.key(1), params, OPTIMISER))
    rng = np.random.default_rng(0)
    batch = {n: rng.uniform(0.5, 1, (8, *SHAPE, 1)).astype(np.float32) for n in ("fixed", "moving")}
    batch["moving_labels"] = rng.integers(0, 3, (8, *SHAPE)).astype(np.int32)
    state, metrics = made.step(state, made.place_batch(batch))
    moment = next(s for s in jax.tree.leaves(state.opt_state, is_leaf=_is_adam) if _is_adam(s)).mu
    assert metrics["largest"] > 2  # voxels: across more than one slab of eight
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
