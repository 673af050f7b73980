"""Other learned registrations, trained by our own loop: the fair comparison.

Each takes the images as ours does (mean square 1 inside the brain), gives a stationary velocity at
half resolution, and the displacement of its flow by scaling and squaring. So data, augmentation,
optimiser, steps, similarity and regularity can be ours as they are; only the architecture differs.
"""

import pathlib
from collections.abc import Callable
from typing import Any

from baselines import transmorph, unet
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation import Method
from drivenmorph_jax.training.checkpoint import load_parameters
from drivenmorph_jax.training.network import Network

BASELINES: dict[str, Callable[[], Network]] = {
    "unet": unet.network,
    "transmorph": transmorph.network,
}


def load_baseline(name: str, folder: pathlib.Path) -> tuple[Method, dict[str, Any]]:
    """A trained baseline of the best checkpoint of its run folder, and the run's config.

    Raises:
      InputError: the folder holds no run of this baseline.
    """
    network = BASELINES[name]()
    weights = load_parameters(folder)
    if weights.config.get("model") != network.description:
        raise InputError(f"{folder} holds no run of {name}: train it with train_baseline.py")
    return Method(name, weights.params, network.apply), weights.config
