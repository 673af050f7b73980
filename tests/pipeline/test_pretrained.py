"""Weights: of the package, of a folder, of a training run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import ModelConfig, init
from drivenmorph_jax.model.weights import save_weights
from drivenmorph_jax.pipeline import (
    load_checkpoint,
    load_pretrained,
    network_method,
    pretrained,
    prolonged,
)
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.experiment import Config, as_document
from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.state import create_state

TINY = ModelConfig(
    channels=(4,),
    iterations=(0, 1),
    cross_attention=(),
    self_attention=(),
    token_channels=4,
    residual_channels=(0, 0),
    squarings=(1, 1),
)
METADATA = {"data": {"spacing": [2.0, 2.0, 2.0], "shape": [80, 96, 80]}}


@pytest.fixture(scope="module")
def params():
    return init(jax.random.key(0), TINY)


def same(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def save_run(folder, params, model):
    state = create_state(jax.random.key(1), params, make_optimiser(OptimiserConfig(), 10))
    averaged = jax.tree.map(lambda leaf: leaf + 1, state.params)
    checkpoints = Checkpoints(folder / "checkpoints")
    document = as_document(Config(model=model))
    checkpoints.save(3, state._replace(ema_params=averaged), progress={}, config=document)
    checkpoints.close()
    return averaged


@pytest.mark.parametrize(
    ("name", "any_contrast"),
    [("brain-t1", False), ("brain-t1-labels", False), ("brain-any", True)],
)
def test_the_weights_of_the_package_are_whole(name, any_contrast):
    found = load_pretrained(name)
    assert found[2:5] == ((2.0, 2.0, 2.0), (80, 96, 80), name)
    assert network_method(found).any_contrast == any_contrast
    card = (pretrained.RELEASED / name / "MODEL_CARD.md").read_text()
    assert card.startswith(f"# {name}\n") and "Licence" in card and "Limits" in card
    assert f"{sum(leaf.size for leaf in jax.tree.leaves(found.params)):,} parameters" in card
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), found.config))
    assert jax.tree.map(jnp.shape, found.params) == jax.tree.map(jnp.shape, shapes)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params))


def test_weights_for_t1_are_the_default():
    assert load_pretrained().source == pretrained.DEFAULT == "brain-t1-labels"


def test_package_weights_by_name(params, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "RELEASED", tmp_path)
    with pytest.raises(InputError, match=r"--checkpoint.*--method demons"):
        load_pretrained()
    save_weights(tmp_path / pretrained.DEFAULT, params, TINY, METADATA)
    found = load_pretrained()
    assert same(found.params, params)
    assert found[1:5] == (TINY, (2.0, 2.0, 2.0), (80, 96, 80), pretrained.DEFAULT)
    assert len(found.sha256) == 64
    with pytest.raises(InputError, match=f"it has {pretrained.DEFAULT}"):
        load_pretrained("other")


def test_run_gives_its_averaged_parameters(params, tmp_path):
    averaged = save_run(tmp_path, params, TINY)
    found = load_checkpoint(tmp_path)
    assert same(found.params, averaged)
    assert found.config == TINY
    assert (found.spacing, found.shape) == (None, (48, 56, 48))
    assert found.source.endswith("step 3")


def test_unusable_folders_are_refused(params, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_checkpoint(tmp_path / "none")
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    save_run(tmp_path / "run", params, ModelConfig())
    with pytest.raises(InputError, match="does not fit its architecture"):
        load_checkpoint(tmp_path / "run")
    save_run(tmp_path / "nan", jax.tree.map(lambda x: x * jnp.nan, params), TINY)
    with pytest.raises(InputError, match="NaN"):
        load_checkpoint(tmp_path / "nan")
    save_weights(tmp_path / "weights", params, TINY, METADATA)
    file = tmp_path / "weights" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(tmp_path / "weights")


def test_iterations_of_correlation_are_prolonged():
    found = load_pretrained("brain-any")
    longer = prolonged(found, 5)
    assert longer.config.correlation_iterations == (15, 40)
    assert longer._replace(config=found.config) == found
    network = found._replace(
        config=dataclasses.replace(found.config, correlation_iterations=(0, 40))
    )
    with pytest.raises(InputError, match=r"brain-any has no correlation iterations"):
        prolonged(network, 5)
    with pytest.raises(InputError, match="refinement of -5 iterations: at least 0"):
        prolonged(found, -5)
