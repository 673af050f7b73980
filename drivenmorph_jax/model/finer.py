"""Images twice as fine as the network: the last iterations at the resolution of the images.

A network registers at the resolution that it was trained at. What finer images show beyond that is
left to iterations driven by their local correlation, which take no training.
"""

from jaxtyping import Array, Float

from drivenmorph_jax.model.config import ModelConfig, Remat
from drivenmorph_jax.model.correlation import CorrelationResult, correlation_demons
from drivenmorph_jax.model.correlation_parameters import (
    Comparison,
    Steps,
    correlation_layers,
    init_correlation,
    layer_of,
)
from drivenmorph_jax.model.drivenmorph import Params
from drivenmorph_jax.model.ignored import Ignored
from drivenmorph_jax.spatial.resize import upsample_displacement

FINER_ITERATIONS = 60
# Found on pairs of MALF, and judged again on what is not: see docs/experiments.md. The windows are
# about as wide in mm as those of the network's own grid.
FINER_COMPARISON = Comparison(
    windows=(17,),
    steps=(
        Steps(
            scale=0.25, fluid_sigma=1.0, broad_sigma=3.0, broad=8.0, momentum=0.5, elasticity=0.015
        ),
    ),
    least_volume=0.03,
    small_volume=0.15,
)
"""How images are compared on their own grid, and the constants; lengths in its voxels."""


def finer_iterations(cfg: ModelConfig) -> int:
    """How many an architecture takes on a grid of half its spacing: 0 where it has no iterations
    driven by correlation at its own finest level, or compares images whose contrasts differ."""
    goes_on = 0 in correlation_layers(cfg) and cfg.sees != "mind"
    return FINER_ITERATIONS if goes_on else 0


def finer_layer(
    params: dict[str, Float[Array, ""]], cfg: ModelConfig
) -> dict[str, Float[Array, ""]]:
    """Parameters of the iterations, from their constants: what training or a regularity has made
    of the initial ones of the network's own finest level it makes of these.

    Args:
      params: of that level.
      cfg: the architecture; `finer_iterations` of it are not 0.
    """
    made = {name: params[name] - initial for name, initial in init_correlation(cfg).items()}
    made.setdefault("log_broad_sigma", made["log_fluid_sigma"])
    return {
        name: value + made[name] for name, value in layer_of(FINER_COMPARISON.steps_at(0)).items()
    }


def register_finer(
    params: Params,
    fixed: Float[Array, "d h w 1"],
    moving: Float[Array, "d h w 1"],
    displacement: Float[Array, "d2 h2 w2 3"],
    cfg: ModelConfig,
    *,
    ignored: Ignored | None = None,
    remat: Remat = "iterations",
) -> CorrelationResult:
    """What `register` found at half the resolution, continued on the images' own grid.

    Its constants are others than those of the network's own resolution (`finer_layer`).

    Args:
      params: of the whole network.
      fixed, moving: on one grid, background exactly 0.
      displacement: of `register`, on the grid of `downsample(fixed)`, its voxels.
      cfg: the architecture; `finer_iterations` of it are not 0.
      ignored: where the images are not to be compared, on their grid.
      remat: see `register`.

    Returns:
      The displacement and the sum of the images' forces, in voxels of the images' grid.

    Raises:
      ValueError: the architecture has no such iterations.
    """
    iterations = finer_iterations(cfg)
    if not iterations:
        raise ValueError(
            "an architecture for any contrast, or without correlation_iterations at its finest "
            "level, does not go on at a finer one"
        )
    return correlation_demons(
        finer_layer(params["demons"][correlation_layers(cfg)[0]], cfg),
        fixed,
        moving,
        upsample_displacement(displacement, fixed.shape[:3]),
        cfg,
        iterations=iterations,
        how=FINER_COMPARISON,
        ignored=ignored,
        remat=remat,
    )
