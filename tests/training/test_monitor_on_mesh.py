"""Evaluation whose volumes are split over devices gives what one device gives."""

import types

import jax
import numpy as np
import pytest

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.dataset import load_training
from drivenmorph_jax.training.mesh import training_mesh
from drivenmorph_jax.training.monitor import make_monitor


def register(params, fixed, moving):
    return types.SimpleNamespace(displacement=params * (fixed - moving), levels=())


@pytest.mark.slow
def test_a_pair_on_all_devices():
    cfg = DataConfig(shape=(8, 16, 8), phantom_training=3, holdout=1)
    _, held_out = load_training(cfg, progress=lambda _: None)
    params = np.linspace(-3, 3, 3).astype(np.float32).reshape(1, 1, 1, 3)
    expected = make_monitor(register, held_out, jax.devices()[:1])(params)
    found = make_monitor(register, held_out, jax.devices(), mesh=training_mesh(4))(params)
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert found["error_voxels"] > 0
