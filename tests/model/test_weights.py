import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import ModelConfig, init
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.model.correlation_parameters import init_correlation, with_correlation
from drivenmorph_jax.model.weights import is_weights_folder, load_weights, save_weights, start_from
from drivenmorph_jax.training.network import drivenmorph

CFG = ModelConfig(
    channels=(8, 8),
    iterations=(0, 1, 1),
    cross_attention=(2,),
    self_attention=(1,),
    residual_channels=(0, 0, 4),
    squarings=(1, 1, 1),
)


@pytest.fixture(scope="module")
def params():
    return init(jax.random.key(0), CFG)


@pytest.fixture
def folder(params, tmp_path):
    save_weights(tmp_path / "w", params, CFG, {"licence": "CC BY-SA 3.0", "dice": 0.7})
    return tmp_path / "w"


def edit(path, change):
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def test_round_trip(folder, params):
    assert is_weights_folder(folder) and not is_weights_folder(folder.parent)
    loaded, cfg, metadata = load_weights(folder)
    assert cfg == CFG and metadata == {"licence": "CC BY-SA 3.0", "dice": 0.7}
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "weights.safetensors"]


def test_damaged_weights(folder):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        load_weights(folder)


def test_missing_files(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"weights\.safetensors cannot be read"):
        load_weights(folder)
    with pytest.raises(InputError, match=r"config\.yaml cannot be read"):
        load_weights(folder / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["model"].update(max_step=0.7), "another model"),
        (lambda d: d["model"].update(depth=3), "model.depth is unknown"),
        (lambda d: d["model"].update(window="4"), "model.window"),
        (lambda d: d["model"].update(max_step=-1.0), "max_step is -1.0: voxels above 0$"),
        (lambda d: d.pop("sha256"), "needs 'model' and 'sha256'"),
        (lambda d: d.update(model=3), "needs keys and values"),
    ],
)
def test_config_that_does_not_belong(folder, change, message):
    edit(folder / "config.yaml", change)
    with pytest.raises(InputError, match=message):
        load_weights(folder)


def test_config_that_is_no_yaml(folder):
    (folder / "config.yaml").write_text("model: {")
    with pytest.raises(InputError, match="not valid YAML"):
        load_weights(folder)


def test_parameters_of_another_architecture_are_not_written(params, tmp_path):
    other = dataclasses.replace(CFG, channels=(8, 16))
    with pytest.raises(ValueError, match="do not fit"):
        save_weights(tmp_path, params, other)
    with pytest.raises(ValueError, match="not finite"):
        save_weights(tmp_path, jax.tree.map(lambda x: x * jnp.nan, params), CFG)
    assert not list(tmp_path.iterdir())


def test_weights_start_a_network_of_their_shapes_alone(folder, params):
    longer = dataclasses.replace(CFG, iterations=(0, 3, 1), squarings=(2, 2, 2))
    other = jax.tree.map(jnp.zeros_like, params)
    jax.tree.map(np.testing.assert_array_equal, start_from(folder, other, longer), params)
    with pytest.raises(InputError, match=r"cannot start this model: .* in place of"):
        start_from(folder, params, dataclasses.replace(CFG, channels=(8, 16)))
    with pytest.raises(InputError, match=r"cannot start this model: .* is missing"):
        start_from(folder, params, dataclasses.replace(CFG, self_attention=(1, 2)))


def test_a_level_that_the_weights_lack_starts_as_it_was(folder, params):
    finer = dataclasses.replace(CFG, iterations=(1, 1, 1))
    fresh = jax.tree.map(lambda x: x + 1, init(jax.random.key(1), finer))
    found = start_from(folder, fresh, finer)
    for part in ("difference", "demons"):
        new = found[part].pop("level_0")
        jax.tree.map(np.testing.assert_array_equal, new, fresh[part]["level_0"])
    jax.tree.map(np.testing.assert_array_equal, found, params)
    fewer = dataclasses.replace(CFG, iterations=(0, 0, 1))
    with pytest.raises(InputError, match=r"level_1/.* has no place in it"):
        start_from(folder, params, fewer)


def test_iterations_of_correlation_may_be_added_and_left_out(folder, params, tmp_path):
    longer = dataclasses.replace(CFG, correlation_iterations=(4,))
    fresh = jax.tree.map(lambda x: x + 1, init(jax.random.key(1), longer))
    found = start_from(folder, fresh, longer)
    added = found["demons"].pop("correlation_0")
    jax.tree.map(np.testing.assert_array_equal, added, fresh["demons"]["correlation_0"])
    jax.tree.map(np.testing.assert_array_equal, found, params)
    save_weights(tmp_path / "longer", with_correlation(params, longer), longer)
    kept = start_from(tmp_path / "longer", fresh, longer)["demons"]["correlation_0"]
    jax.tree.map(np.testing.assert_array_equal, kept, init_correlation(longer))
    again = start_from(tmp_path / "longer", params, CFG)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_an_anatomy_is_kept_left_out_and_never_made_up(folder, params, tmp_path):
    naming = dataclasses.replace(CFG, anatomy=AnatomyConfig(2, channels=(2, 3)))
    trained = init(jax.random.key(1), naming)["anatomy"]
    save_weights(tmp_path / "naming", {**params, "anatomy": trained}, naming)
    fresh = init(jax.random.key(2), naming)
    kept = start_from(tmp_path / "naming", fresh, naming)
    jax.tree.map(np.testing.assert_array_equal, kept["anatomy"], trained)
    without = start_from(tmp_path / "naming", params, CFG)
    jax.tree.map(np.testing.assert_array_equal, without, params)
    with pytest.raises(InputError, match=r"anatomy/.* is missing"):
        start_from(folder, fresh, naming)
    with pytest.raises(InputError, match=r"trained by train_anatomy.py"):
        drivenmorph(naming)
