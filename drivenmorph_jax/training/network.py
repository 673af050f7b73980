"""What is trained: a registration network as two functions, and a description to save with it."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import ModelConfig, Remat
from drivenmorph_jax.model.drivenmorph import Params, init, register
from drivenmorph_jax.model.result import Registration
from drivenmorph_jax.model.weights import start_from

Image = Float[Array, "d h w 1"]


class Network(NamedTuple):
    """A registration with parameters.

    Attributes:
      init: random parameters from a key.
      apply: (params, fixed, moving) to a registration, for one pair of images. Without levels it
        cannot be supervised by its force: `loss.force_weight` has to be 0.
      description: the architecture as plain values, the `model` section of a run's config. A run is
        only resumed by a network of the same description.
    """

    init: Callable[[PRNGKeyArray], Any]
    apply: Callable[[Any, Image, Image], Registration]
    description: dict[str, Any]


def drivenmorph(
    cfg: ModelConfig, *, remat: Remat = "iterations", weights: str | None = None
) -> Network:
    """DrivenMorph in this architecture.

    Args:
      cfg: the architecture.
      remat: what a derivative works out again: see `register`.
      weights: folder of exported weights to start from; None for random parameters.

    Raises:
      InputError: an anatomy: naming structures is not learned by registering.
    """
    if cfg.anatomy is not None:
        raise InputError(
            "model.anatomy is trained by train_anatomy.py, not here: leave it out, and join it to "
            "the weights that this training gives"
        )

    def start(key: PRNGKeyArray) -> Params:
        params = init(key, cfg)
        return params if weights is None else start_from(weights, params, cfg)

    return Network(
        init=start,
        apply=lambda params, fixed, moving: register(params, fixed, moving, cfg, remat=remat),
        description=json.loads(json.dumps(dataclasses.asdict(cfg))),
    )
