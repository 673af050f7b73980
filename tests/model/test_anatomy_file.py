"""A trained anatomy, written and read."""

import jax
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.anatomy import init_anatomy
from drivenmorph_jax.model.anatomy_file import TrainedAnatomy, load_anatomy, save_anatomy
from drivenmorph_jax.model.config import AnatomyConfig

CFG = AnatomyConfig(2, channels=(3, 4), weight=2.0)


def trained(cfg: AnatomyConfig = CFG) -> TrainedAnatomy:
    return TrainedAnatomy(init_anatomy(jax.random.key(0), CFG), cfg, {"structures": ["a", "b"]})


def test_what_is_written_is_read(tmp_path):
    save_anatomy(tmp_path / "a.safetensors", trained())
    found = load_anatomy(tmp_path / "a.safetensors")
    jax.tree.map(np.testing.assert_array_equal, found.params, trained().params)
    assert found.config == CFG and found.metadata == {"structures": ["a", "b"]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_what_is_no_anatomy_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="holds no trained anatomy"):
        load_anatomy(path)
    save_anatomy(path, trained())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="holds no trained anatomy"):
        load_anatomy(path)
    save_anatomy(path, trained(AnatomyConfig(5, channels=(3, 4))))
    with pytest.raises(InputError, match="do not fit its architecture"):
        load_anatomy(path)
    with pytest.raises(InputError, match="cannot write"):
        save_anatomy(tmp_path / "none" / "a.safetensors", trained())
