"""The learned baselines: from the identity, with all their parameters, by our own loop."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_baseline
from baselines import BASELINES, load_baseline, transmorph, unet
from methods import make_entry

from drivenmorph_jax.config import parse_config
from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import ModelConfig, init
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.training.experiment import train

# What the docstrings and the study say of their size.
OURS = 202_009
COUNTS = {"unet": 306_579, "transmorph": 1_076_211}
TINY = """
data: {shape: [16, 16, 16], phantom_training: 3, holdout: 1}
loss: {similarity: mse, regularity_weight: 0.1}
training:
  {steps: 2, backend: single, log_every: 1, evaluate_every: 0, checkpoint_every: 1,
   tensorboard: false}
"""


def size(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_ours_has_the_size_that_they_are_held_to():
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), ModelConfig()))
    assert size(shapes) == OURS


EVERY = ["unet", pytest.param("transmorph", marks=pytest.mark.slow)]
pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.fixture(autouse=True)
def native_convolution(monkeypatch):
    """XLA's own: the same numbers, and compiled in a tenth of the time."""
    monkeypatch.setattr(unet, "Convolution", functools.partial(nn.Conv, kernel_size=(3, 3, 3)))


@pytest.mark.parametrize("name", BASELINES)
def test_they_have_at_least_our_number_of_parameters(name):
    shapes = jax.eval_shape(BASELINES[name]().init, jax.random.key(0))
    assert size(shapes) == COUNTS[name] >= OURS


@pytest.mark.parametrize("name", EVERY)
def test_the_identity_at_first_and_a_gradient_for_every_parameter(name):
    network = BASELINES[name]()
    pair = phantom_pair(0, (20, 16, 17))
    fixed, moving = (jnp.asarray(image)[..., None] for image in (pair.fixed, pair.moving))

    def gradient(key):
        def loss(params):
            displacement = network.apply(params, fixed, moving).displacement
            return ((fixed - warp(moving, displacement)) ** 2).sum(), displacement

        return jax.grad(loss, has_aux=True)(network.init(key))

    key = jax.random.key(0)
    found, displacement = jax.jit(gradient)(key)
    assert displacement.shape == (20, 16, 17, 3)
    assert 0 < float(jnp.abs(displacement).max()) < 1e-2
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert float(jnp.abs(leaf).max()) > 0, jax.tree_util.keystr(path)


def test_windows_are_taken_apart_and_put_together():
    x = np.arange(8 * 6 * 4 * 2).reshape(8, 6, 4, 2)
    windows = transmorph._windows(x, (4, 3, 2))
    np.testing.assert_array_equal(windows[0], x[:4, :3, :2].reshape(-1, 2))
    np.testing.assert_array_equal(transmorph._unwindows(windows, (4, 3, 2), (8, 6, 4)), x)


def test_tokens_see_no_padding_nor_the_other_end():
    allowed = transmorph._allowed((7, 1, 1), (8, 1, 1), (4, 1, 1), (2, 0, 0))
    # Rolled by two: tokens 2 to 5 in one window, and 6, the padding, 0 and 1 in the other.
    assert allowed[0].all()
    blocks = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    np.testing.assert_array_equal(allowed[1], np.array(blocks, bool))


@pytest.mark.slow
def test_training_by_our_loop_is_resumed_and_loaded(tmp_path):
    network = BASELINES["unet"]()
    config = train_baseline.without_force(parse_config(TINY))
    first = train(
        parse_config(TINY, ["loss.force_weight=0", "training.steps=1"]), tmp_path, network=network
    )
    assert int(first.state.step) == 1
    second = train(config, tmp_path, resume=True, network=network)
    assert int(second.state.step) == 2
    method, document = load_baseline("unet", tmp_path)
    assert document["model"] == network.description and document["loss"]["force_weight"] == 0
    for one, other in zip(
        jax.tree.leaves(method.params), jax.tree.leaves(second.state.ema_params), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    labelled = make_entry("unet_labels", (2.0, 2.0, 2.0), baselines={"unet_labels": tmp_path})
    assert labelled.settings["model"] == network.description
    with pytest.raises(InputError, match="holds no run of transmorph"):
        load_baseline("transmorph", tmp_path)
    with pytest.raises(InputError, match=r"model\.channels is .*, the checkpoint has None"):
        train(config, tmp_path, resume=True)
