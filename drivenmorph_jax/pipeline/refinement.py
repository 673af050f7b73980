"""Instance refinement: a registration improved for its own pair, by gradient descent."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.ignored import Ignored, compared
from drivenmorph_jax.model.named import Named, structure_difference
from drivenmorph_jax.model.smoothing import check_regularity
from drivenmorph_jax.objective.loss import LossConfig, regularity_of, similarity_of
from drivenmorph_jax.spatial.fields import compose, exponential
from drivenmorph_jax.spatial.filters import gaussian_smooth, maximum
from drivenmorph_jax.spatial.jacobian import strictest_volume
from drivenmorph_jax.spatial.masks import brain_mask
from drivenmorph_jax.spatial.resize import upsample_displacement
from drivenmorph_jax.spatial.sampling import warp

Progress = Callable[[int, float], None]
"""Called after every iteration with its number and the objective."""

DEFAULT_LOSS = LossConfig(lncc_window=9, regularity_weight=0.5)
"""The window chosen on held-out training pairs of IXI, the weight on validation pairs beyond the
study's first five: see docs/experiments.md."""

# Around a fold this cube of voxels is left as it was, faded out by a Gaussian of this width.
_RESTRAINED, _BLEND = 3, 0.5


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """How a registration is refined.

    Attributes:
      iterations: of Adam; 0 leaves the registration as it is.
      loss: the similarity, the regularity and its weight; the other terms are not used.
      learning_rate: voxels an iteration, at first; it falls to a tenth, along a cosine.
      smoothing: width of the Gaussian that keeps the velocities smooth, voxels of their grids.
      squarings: of the exponential.
      structures: factor of the weight that structures have in the iterations, where a network names
        them: they keep descent on the similarity from leading away from the anatomy.
    """

    iterations: int = 50
    loss: LossConfig = DEFAULT_LOSS
    learning_rate: float = 0.05
    smoothing: float = 1.0
    squarings: int = 3
    structures: float = 3.0

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise InputError(f"refinement of {self.iterations} iterations: at least 0")


def refine_config(iterations: int, *, regularity: float = 1.0, **changes: Any) -> RefineConfig:
    """The usual refinement with that many iterations, and changes to its `LossConfig`.

    Args:
        iterations: of Adam.
        regularity: factor of the usual weight of the regularity.
        changes: to other fields of the loss.

    Raises:
        InputError: a number that makes no sense.
    """
    check_regularity(regularity)
    weight = regularity * DEFAULT_LOSS.regularity_weight
    loss = dataclasses.replace(DEFAULT_LOSS, regularity_weight=weight, **changes)
    return RefineConfig(iterations, loss)


class Refined(NamedTuple):
    """The refined displacement, and what became of the objective.

    Attributes:
      displacement: (D, H, W, 3), voxels.
      before, after: the objective at the start and at the result; after <= before.
    """

    displacement: Float[Array, "d h w 3"]
    before: float
    after: float


class _State(NamedTuple):
    velocities: Any
    optimiser: Any
    best: Any
    best_objective: Float[Array, ""]


def refine(
    displacement: Float[Array, "d h w 3"],
    fixed: Float[Array, "d h w 1"],
    moving: Float[Array, "d h w 1"],
    cfg: RefineConfig = RefineConfig(),
    *,
    named: Named | None = None,
    ignored: Ignored | None = None,
    progress: Progress | None = None,
) -> Refined:
    """Minimise similarity(F, M∘φ) + λ·regularity(φ) over φ = φ₀ ∘ exp(v), from v = 0.

    With structures, plus their difference over the voxels of both brains: `structure_difference`
    as in the correlation's iterations, times `cfg.structures`.

    v is the sum of a velocity on the grid and one on the grid of twice the spacing, both smoothed:
    the coarse one carries what moves together. The best φ met is returned, φ₀ among them, with v at
    rest around what folds in it.

    Args:
      displacement: φ₀, voxels of the grid.
      fixed, moving: background exactly 0.
      cfg: static; one compilation for each, and each shape.
      named: the structures of both images.
      ignored: where the images are not to be compared.
      progress: told of every iteration.
    """
    fixed, moving, start = (jnp.asarray(array) for array in (fixed, moving, displacement))
    state = _begin(start, cfg)
    before = math.nan
    # One evaluation more than steps: the last step is judged as well.
    for iteration in range(cfg.iterations + 1):
        state, objective = _advance(state, start, fixed, moving, named, ignored, cfg)
        if iteration == 0:
            before = float(objective)
        if progress is not None:
            progress(iteration, float(objective))
    found = _unfolded(state.best, start, cfg)
    after = float(_objective(found, fixed, moving, named, ignored, cfg))
    return Refined(found, before, after) if after <= before else Refined(start, before, before)


@functools.partial(jax.jit, static_argnames="cfg")
def _begin(start, cfg: RefineConfig) -> _State:
    coarse = tuple(-(-size // 2) for size in start.shape[:3])
    velocities = (jnp.zeros_like(start), jnp.zeros((*coarse, 3), start.dtype))
    infinite = jnp.full((), jnp.inf, start.dtype)
    return _State(velocities, _optimiser(cfg).init(velocities), velocities, infinite)


@functools.partial(jax.jit, static_argnames="cfg")
def _advance(
    state: _State,
    start,
    fixed,
    moving,
    named: Named | None,
    ignored: Ignored | None,
    cfg: RefineConfig,
):
    """Judge where the state stands, and take a step from there."""

    def objective(velocities):
        return _objective(_refined(velocities, start, cfg), fixed, moving, named, ignored, cfg)

    value, gradient = jax.value_and_grad(objective)(state.velocities)
    keep = functools.partial(jnp.where, value < state.best_objective)
    best = jax.tree.map(keep, state.velocities, state.best)
    step, optimiser = _optimiser(cfg).update(gradient, state.optimiser)
    velocities = optax.apply_updates(state.velocities, step)
    return _State(velocities, optimiser, best, keep(value, state.best_objective)), value


@functools.partial(jax.jit, static_argnames="cfg")
def _objective(
    displacement,
    fixed,
    moving,
    named: Named | None,
    ignored: Ignored | None,
    cfg: RefineConfig,
):
    where = None if ignored is None else compared(ignored, displacement)[..., 0] > 0.5
    warped = warp(moving, displacement)
    similarity = similarity_of(cfg.loss, where)(fixed, warped)
    if named is not None:
        both = brain_mask(fixed, warped)
        count = both.sum() if where is None else (both & where).sum()
        difference = structure_difference(named, displacement, ignored=ignored)
        similarity += cfg.structures * difference / jnp.maximum(count, 1)
    return similarity + cfg.loss.regularity_weight * regularity_of(cfg.loss)(displacement)


def _refined(velocities, start, cfg: RefineConfig):
    return _moved(start, _velocity(velocities, cfg), cfg)


@functools.partial(jax.jit, static_argnames="cfg")
def _unfolded(velocities, start, cfg: RefineConfig):
    """As `_refined`, but at rest around what folds, by the corners or as ANTs would count it.

    What stands still beside what moves may fold in its turn: hence four times.
    """
    velocity = _velocity(velocities, cfg)

    def restrain(_, state):
        displacement, folded = state
        folded |= strictest_volume(displacement) <= 0
        rest = gaussian_smooth(maximum(folded.astype(start.dtype), _RESTRAINED), _BLEND)
        return _moved(start, (1 - rest) * velocity, cfg), folded

    nowhere = jnp.zeros((*start.shape[:3], 1), bool)
    state = _moved(start, velocity, cfg), nowhere
    return jax.lax.fori_loop(0, 4, restrain, state)[0]


def _velocity(velocities, cfg: RefineConfig):
    fine, coarse = (gaussian_smooth(velocity, cfg.smoothing) for velocity in velocities)
    return fine + upsample_displacement(coarse, fine.shape[:3])


def _moved(start, velocity, cfg: RefineConfig):
    return compose(start, exponential(velocity, squarings=cfg.squarings))


def _optimiser(cfg: RefineConfig) -> optax.GradientTransformation:
    steps = max(cfg.iterations, 1)
    return optax.adam(optax.cosine_decay_schedule(cfg.learning_rate, steps, alpha=0.1))
