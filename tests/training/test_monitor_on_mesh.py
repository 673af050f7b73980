"""Evaluation on the way: what it measures, and that any devices measure the same."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.dataset import load_training
from drivenmorph_jax.training.mesh import training_mesh
from drivenmorph_jax.training.monitor import make_monitor, results_of


def register(params, fixed, moving):
    return types.SimpleNamespace(displacement=params * (fixed - moving), levels=())


def still(params, fixed, moving):
    return types.SimpleNamespace(displacement=params + jnp.zeros((*fixed.shape[:3], 3)), levels=())


def test_scores_of_the_identity_are_those_from_before():
    cfg = DataConfig(shape=(8, 16, 8), phantom_training=6, holdout=3)
    _, held_out = load_training(cfg, progress=lambda _: None)
    nothing = np.zeros((1, 1, 1, 3), np.float32)
    found = make_monitor(still, held_out, jax.devices()[:1])(nothing)
    assert set(results_of(held_out)) == set(found)
    unlabelled = held_out._replace(label_table=None, truth=None)
    assert set(results_of(unlabelled)) == set(
        make_monitor(still, unlabelled, jax.devices()[:1])(nothing)
    )
    assert found["dice"] == found["dice_before"]
    assert 0 < found["dice"] < 1
    assert found["folding_percent"] == 0
    errors = []
    for (i, _), truth in zip(held_out.pairs, held_out.truth, strict=True):
        inside = np.asarray(held_out.subjects[i].image) != 0
        errors.append(np.linalg.norm(truth, axis=-1)[inside].mean())
    assert len(errors) == 3
    assert found["error_voxels"] == pytest.approx(np.mean(errors), rel=1e-5)
    # Three pairs on two devices: the last round is filled up, and the filling does not count.
    shared = make_monitor(still, held_out, jax.devices()[:2])(nothing)
    assert shared == pytest.approx(found, rel=1e-6)


@pytest.mark.slow
def test_a_pair_on_all_devices():
    cfg = DataConfig(shape=(8, 16, 8), phantom_training=3, holdout=1)
    _, held_out = load_training(cfg, progress=lambda _: None)
    params = np.linspace(-3, 3, 3).astype(np.float32).reshape(1, 1, 1, 3)
    expected = make_monitor(register, held_out, jax.devices()[:1])(params)
    found = make_monitor(register, held_out, jax.devices(), mesh=training_mesh(4))(params)
    assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)
    assert found["error_voxels"] > 0
