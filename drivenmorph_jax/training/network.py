"""What is trained: a registration network as two functions, and a description to save with it."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from drivenmorph_jax.model.config import ModelConfig
from drivenmorph_jax.model.drivenmorph import init, register
from drivenmorph_jax.model.result import Registration

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


def drivenmorph(cfg: ModelConfig) -> Network:
    """DrivenMorph in this architecture."""
    compiled = jax.jit(init, static_argnums=1)
    return Network(
        init=lambda key: compiled(key, cfg),
        apply=lambda params, fixed, moving: register(params, fixed, moving, cfg),
        description=json.loads(json.dumps(dataclasses.asdict(cfg))),
    )
