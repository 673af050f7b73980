"""What is evaluated: a registration as a function of parameters and a pair of images."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from drivenmorph_jax.model.classical import classical_demons
from drivenmorph_jax.model.config import ClassicalConfig, ModelConfig
from drivenmorph_jax.model.drivenmorph import Params, register
from drivenmorph_jax.model.result import Registration

Image = Float[Array, "d h w 1"]


class Method(NamedTuple):
    """A registration under a name.

    Attributes:
      name: for people.
      params: what `register` takes first: a pytree, empty where nothing is learned.
      register: (params, fixed, moving) to a registration; traced by JAX.
    """

    name: str
    params: Any
    register: Callable[[Any, Image, Image], Registration]


def learned_method(params: Params, cfg: ModelConfig, name: str = "DrivenMorph") -> Method:
    """The network with these parameters."""
    return Method(name, params, lambda p, fixed, moving: register(p, fixed, moving, cfg))


def classical_method(cfg: ClassicalConfig = ClassicalConfig(), name: str | None = None) -> Method:
    """Classical Demons, without parameters."""
    return Method(
        name or f"{cfg.variant} Demons",
        {},
        lambda _, fixed, moving: classical_demons(fixed, moving, cfg),
    )
