"""Every config for a published data set takes one real training step on that set's layout."""

import pathlib

import numpy as np
import pytest

from drivenmorph_jax.config import load_config
from drivenmorph_jax.training.checkpoint import load_parameters
from drivenmorph_jax.training.experiment import train

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"

# A grid and an architecture small enough to compile in seconds; all else is the config's own.
SMALL = [
    "data.shape=[16, 16, 16]",
    "data.spacing=[8.0, 8.0, 8.0]",
    "data.holdout=0",
    "model.channels=[4]",
    "model.iterations=[0, 1]",
    "model.cross_attention=[]",
    "model.self_attention=[]",
    "model.residual_channels=[0, 0]",
    "model.squarings=[1, 1]",
    "training.steps=1",
    "training.batch=1",
    "training.backend=single",
    "training.evaluate_every=0",
    "training.tensorboard=false",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "fixture"),
    [
        ("oasis", "learn2reg"),
        ("oasis_dice", "learn2reg"),
        ("ixi", "ixi"),
        ("ixi", "transmorph_ixi"),
        ("lpba40", "lpba40"),
        ("mindboggle", "mindboggle"),
        ("ixi_2mm", "folder"),
        ("brain_any", "folder"),
    ],
)
def test_config_takes_one_real_step_on_its_published_layout(config, fixture, layout, tmp_path):
    data = layout(fixture)
    overrides = [*SMALL, f"data.path={data.path}", f"data.cache={tmp_path / 'cache'}"]
    if fixture in ("ixi", "lpba40", "mindboggle"):
        # The fixture has six subjects only.
        overrides.append(f"data.validation={list(data.validation)}")
    if fixture == "folder":
        overrides.append("data.labels=freesurfer")
    if config.startswith("brain_any"):
        # The fixture has no whole heads, and the first stage's weights are of another architecture.
        overrides += ["data.label_maps=null", "training.initial_weights=null"]
    loaded = load_config(CONFIGS / f"{config}.yaml", overrides)
    outcome = train(loaded, tmp_path / "run")
    assert int(outcome.state.step) == 1
    saved = load_parameters(tmp_path / "run", "latest")
    assert saved.step == 1
    import jax

    leaves = jax.tree.leaves(saved.params)
    assert leaves and all(np.isfinite(leaf).all() for leaf in leaves)
