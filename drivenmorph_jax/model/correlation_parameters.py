"""How the last Demons iterations compare two images: constants, and the parameters they make."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from drivenmorph_jax.model.config import ModelConfig


class Steps(NamedTuple):
    """Constants of the iterations; lengths in voxels of their grid. What is 0 is left out.

    Attributes:
      scale: the step that a force of 1 makes.
      fluid_sigma: width of the step's smoothing.
      broad_sigma: width of a second smoothing of the step, which is added.
      broad: the weight of that.
      momentum: the share of an iteration's force that goes on into the next.
      elasticity: λ of the force λ∇²u, which keeps the displacement smooth.
      diffusion_sigma: width of the displacement's smoothing, which does so too.
    """

    scale: float
    fluid_sigma: float
    broad_sigma: float = 0.0
    broad: float = 0.0
    momentum: float = 0.0
    elasticity: float = 0.0
    diffusion_sigma: float = 0.0


_LAYER = ("scale", "fluid_sigma", "broad_sigma", "elasticity", "diffusion_sigma")
"""Those of them that are parameters of a layer, by their logarithms."""


class Comparison(NamedTuple):
    """How images are compared, and the initial constants of the layers.

    Attributes:
      windows: odd widths of the cubes in which they are correlated, finest level first; the last
        also holds for all coarser levels. Voxels.
      steps: of the layers, in the same order.
      small_volume: the force begins to fade where tissue is compressed to this share of its volume.
      least_volume: and to this there is no force left.
    """

    windows: tuple[int, ...]
    steps: tuple[Steps, ...]
    least_volume: float = 0.0
    small_volume: float = 0.1

    def window_at(self, level: int) -> int:
        """`windows` of a level."""
        return self.windows[min(level, len(self.windows) - 1)]

    def steps_at(self, level: int) -> Steps:
        """`steps` of a level."""
        return self.steps[min(level, len(self.steps) - 1)]


# Chosen on held-out training subjects; those at half the resolution were found on pairs of MALF and
# judged again on what is not: see docs/experiments.md.
_ONE_CONTRAST = Comparison(
    windows=(9,),
    steps=(
        Steps(
            scale=0.3, fluid_sigma=1.0, broad_sigma=3.0, broad=2.0, momentum=0.5, elasticity=0.03
        ),
    ),
)
_WITH_ANATOMY = _ONE_CONTRAST._replace(
    steps=(
        Steps(scale=0.3, fluid_sigma=0.7, momentum=0.5, elasticity=0.015),
        Steps(scale=1.0, fluid_sigma=1.5, diffusion_sigma=0.2),
    )
)
_ANY_CONTRAST = Comparison(
    windows=(7, 5), steps=(Steps(scale=4.0, fluid_sigma=3.0, diffusion_sigma=0.7),)
)


def comparison(cfg: ModelConfig) -> Comparison:
    """How the last iterations after a network of this architecture compare images."""
    if cfg.sees == "mind":
        return _ANY_CONTRAST
    return _ONE_CONTRAST if cfg.anatomy is None else _WITH_ANATOMY


def correlation_layers(cfg: ModelConfig) -> dict[int, str]:
    """Names of the layers in the "demons" subtree by level, coarse to fine."""
    counts = enumerate(cfg.correlation_iterations)
    return {level: f"correlation_{level}" for level, count in reversed([*counts]) if count}


def init_correlation(cfg: ModelConfig, level: int = 0) -> dict[str, Float[Array, ""]]:
    """Parameters of one level: logarithms of its scale, its widths, and its elasticity."""
    return layer_of(comparison(cfg).steps_at(level))


def layer_of(steps: Steps) -> dict[str, Float[Array, ""]]:
    """The initial parameters that constants make; what is 0 is left out."""
    values = {name: getattr(steps, name) for name in _LAYER}
    return {f"log_{k}": jnp.log(jnp.asarray(x, jnp.float32)) for k, x in values.items() if x}


def with_correlation(params: dict[str, Any], cfg: ModelConfig) -> dict[str, Any]:
    """The parameters of a network with `cfg.correlation_iterations`, or, of none, without."""
    before = params["demons"]
    layers = {name: layer for name, layer in before.items() if not is_correlation(name)}
    for level, name in correlation_layers(cfg).items():
        layers[name] = before.get(name) or init_correlation(cfg, level)
    return {**params, "demons": layers}


def is_correlation(layer: str) -> bool:
    """Whether a layer of the "demons" subtree is one of these."""
    return layer.startswith("correlation_")
