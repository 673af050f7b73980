"""How smooth the Demons layer makes a map: its widths, and one number that scales them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import ClassicalConfig, ModelConfig
from drivenmorph_jax.model.correlation_parameters import Steps, comparison, correlation_layers
from drivenmorph_jax.model.drivenmorph import Params, force_levels

# A width's square and an elasticity are weights of a penalty: a regularity multiplies these.
_REGULARITY_POWERS = {
    "log_fluid_sigma": 0.5,
    "log_broad_sigma": 0.5,
    "log_diffusion_sigma": 0.5,
    "log_elasticity": 1.0,
}


class LevelSmoothing(NamedTuple):
    """Widths of a level's Gaussians, in voxels of the level, and how often they act."""

    level: int
    fluid: float
    diffusion: float
    iterations: int


def check_regularity(regularity: float) -> None:
    """Raises:
    InputError: it is not a number above 0.
    """
    if not (math.isfinite(regularity) and regularity > 0):
        raise InputError(f"a regularity of {regularity}: a number above 0, 1 is as trained")


def with_regularity(params: Params, regularity: float) -> Params:
    """Parameters whose maps are smoother (above 1) or less smooth (below 1) than as trained.

    The Gaussians of the layer are widened by √regularity: smoothing with variance σ² is a step of
    size σ²/2 down the diffusion penalty ½∫‖∇u‖², so that σ² takes the place of its weight (Cachier
    et al., CVIU 2003, on Demons as an alternation of matching and smoothing). Where the slope of
    that penalty is a force itself, its weight is multiplied.

    Args:
      params: as from `init`; parts that a layer does not have stay absent.
      regularity: above 0; 1 changes nothing.

    Raises:
      InputError: it is not a number above 0.
    """
    check_regularity(regularity)
    if regularity == 1:
        return params
    shift = math.log(regularity)
    levels = {
        name: {
            key: value + _REGULARITY_POWERS[key] * shift if key in _REGULARITY_POWERS else value
            for key, value in level.items()
        }
        for name, level in params["demons"].items()
    }
    return {**params, "demons": levels}


def classical_with_regularity(cfg: ClassicalConfig, regularity: float) -> ClassicalConfig:
    """The same of classical Demons' constants.

    Raises:
      InputError: as above.
    """
    check_regularity(regularity)
    wider = math.sqrt(regularity)
    return replace(
        cfg, fluid_sigma=cfg.fluid_sigma * wider, diffusion_sigma=cfg.diffusion_sigma * wider
    )


def network_smoothing(params: Params, cfg: ModelConfig) -> list[LevelSmoothing]:
    """Of every level that carries a force, coarse to fine, and of the correlation's iterations."""
    layers = [(f"level_{level}", level, cfg.iterations[level]) for level in force_levels(cfg)]
    for level, name in correlation_layers(cfg).items():
        layers.append((name, level, cfg.correlation_iterations[level]))
    steps = comparison(cfg).steps_at
    return [
        LevelSmoothing(level, *_widths(params["demons"][part], steps(level)), iterations)
        for part, level, iterations in layers
    ]


def _widths(layer: Params, steps: Steps) -> tuple[float, float]:
    """Of the wider Gaussian of a step, and of what an iteration smooths the displacement with."""

    def value(name: str) -> float:
        return math.exp(float(layer[name])) if name in layer else 0.0

    fluid = max(value("log_fluid_sigma"), value("log_broad_sigma"))
    # As far as it is smooth, a force λ∇²u is a step of diffusion, and momentum repeats it.
    repeated = (1 + steps.broad) / (1 - steps.momentum)
    variance = 2 * value("log_scale") * value("log_elasticity") * repeated
    return fluid, math.hypot(value("log_diffusion_sigma"), math.sqrt(variance))


def classical_smoothing(cfg: ClassicalConfig) -> list[LevelSmoothing]:
    """The same of classical Demons."""
    return [
        LevelSmoothing(level, cfg.fluid_sigma, cfg.diffusion_sigma, cfg.iterations[level])
        for level in reversed(range(len(cfg.iterations)))
        if cfg.iterations[level]
    ]


def smoothing_width(levels: Sequence[LevelSmoothing]) -> float:
    """The widest Gaussian that any force passes through, in voxels of level 0.

    A level's first force is smoothed by the fluid Gaussian once, and as part of the displacement
    by the diffusion Gaussian of every iteration from there on, those of later levels included;
    variances add: σ² = max_l [(2^l σ_fluid,l)² + Σ_{m from l on} K_m (2^m σ_diffusion,m)²].
    Composition and interpolation between the levels are left out.

    Args:
      levels: in the order in which they run.
    """
    largest = diffusion = 0.0
    for own in reversed(levels):
        factor = 4.0**own.level
        diffusion += own.iterations * factor * own.diffusion**2
        largest = max(largest, factor * own.fluid**2 + diffusion)
    return math.sqrt(largest)
