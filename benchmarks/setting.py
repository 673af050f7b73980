"""What is measured: model and loss of a config, on a phantom; nothing here reads images."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pydantic
import yaml

from drivenmorph_jax.data.phantom import phantom_pair
from drivenmorph_jax.model import ModelConfig, init, register
from drivenmorph_jax.objective.loss import LossConfig
from drivenmorph_jax.training.augment import AugmentConfig
from drivenmorph_jax.training.optimiser import OptimiserConfig, make_optimiser
from drivenmorph_jax.training.pair_loss import make_pair_loss
from drivenmorph_jax.training.parallel import Backend, BackendName, make_backend
from drivenmorph_jax.training.state import TrainState, create_state

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"


class Setting(NamedTuple):
    """The parts of a config that decide how much work a step is."""

    model: ModelConfig
    loss: LossConfig


def read_setting(path: pathlib.Path, overrides: Sequence[str] = ()) -> Setting:
    """The sections `model` and `loss` of a config, changed by "section.key=value"."""
    document = yaml.safe_load(path.read_text())
    for override in overrides:
        key, value = override.split("=", 1)
        section, name = key.split(".")
        document.setdefault(section, {})[name] = yaml.safe_load(value)
    return Setting(
        pydantic.TypeAdapter(ModelConfig).validate_python(document.get("model", {})),
        pydantic.TypeAdapter(LossConfig).validate_python(document.get("loss", {})),
    )


def make_training(
    setting: Setting, shape: Sequence[int], *, batch: int = 1, backend: BackendName = "single"
) -> tuple[Backend, TrainState, Any]:
    """A training step as a run takes it, with its first state and a batch on the devices."""

    def apply(params: Any, fixed: jax.Array, moving: jax.Array) -> Any:
        return register(params, fixed, moving, setting.model)

    loss = make_pair_loss(apply, setting.loss, AugmentConfig())
    optimiser = make_optimiser(OptimiserConfig(), 1000)
    made = make_backend(backend, loss, optimiser, batch=batch, ema_decay=0.99)
    params = jax.jit(init, static_argnums=1)(jax.random.key(0), setting.model)
    state = made.place_state(create_state(jax.random.key(1), params, optimiser))
    pair = phantom_pair(0, (shape[0], shape[1], shape[2]))
    images = {"fixed": pair.fixed, "moving": pair.moving}
    stacked = {
        name: np.repeat(np.asarray(image, np.float32)[None, ..., None], batch, 0)
        for name, image in images.items()
    }
    return made, state, made.place_batch(stacked)
