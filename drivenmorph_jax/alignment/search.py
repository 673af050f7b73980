"""Levenberg–Marquardt ascent of a similarity in the twelve parameters of a pose.

The score is I + w·ρ_outline. ρ_outline is the correlation of the blurred brain masks over the whole
lattice: it needs no contrast, draws from afar, and keeps I from gaining by less overlap. I, in
nats, compares the tissue: mean intensities (blurred image over blurred mask, so that no edge mixes
brain with background), weighted by a power p of both shares of brain, so that the rim, half of it
background and skull stripping, counts less. I is mutual information, or what correlation ρ would
amount to between normal variables, −½ log(1 − ρ²).

For a similarity S(W) of warped samples W the slope is Jᵀ ∂S/∂W, J = ∂W/∂δ, and the curvature is
Gauss–Newton's, JᵀJ/(n v), where v is the variance of W that F leaves unexplained:
var W·exp(−2 I), exact where intensities are jointly normal. A step is kept only where the score
rises, and the damping absorbs what the approximation misses.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.alignment.lattice import Lattice
from drivenmorph_jax.alignment.pose import GENERATORS, Pose, move
from drivenmorph_jax.objective.mutual_information import mutual_information
from drivenmorph_jax.spatial.filters import gradient
from drivenmorph_jax.spatial.sampling import identity_grid, sample

Similarity = Literal["ncc", "mi"]
_BINS = 24


class _Weighting(NamedTuple):
    """The outline's weight w, and the power p of the shares of brain that weigh the tissue."""

    outline: float
    power: int


# Chosen on pairs of training subjects by the Dice of their labels; of the candidates for mutual
# information, the one that also ends where ANTs' affine does.
_WEIGHTING = {"ncc": _Weighting(3.0, 3), "mi": _Weighting(6.0, 1)}
# Where less of the neighbourhood is brain, its mean intensity is noise.
_FAINT = 0.05
_TINY = 1e-6


class Problem(NamedTuple):
    """One level of the search.

    Attributes:
        points: (N, 3) fixed lattice points, mm from the fixed centre, world axes.
        fixed: (N, 2) intensity and share of brain there.
        moving: (n, n, n, 8) intensity, share of brain, and the gradient of each per lattice step.
        to_lattice: (3, 3), mm from the moving centre to lattice steps.
        radius: () mm, the length that turns angles and scales into mm.
    """

    points: Float[Array, "N 3"]
    fixed: Float[Array, "N 2"]
    moving: Float[Array, "n n n 8"]
    to_lattice: Float[Array, "3 3"]
    radius: Float[Array, ""]


class Evaluation(NamedTuple):
    """What a pose is worth, and where it should go.

    Attributes:
        tissue: () information I in nats.
        outline: () correlation of the masks.
        score: () their weighted sum, which the search maximises.
        slope: (12,) of the score, per mm of step.
        curvature: (12, 12) minus its approximate second derivative.
    """

    tissue: Float[Array, ""]
    outline: Float[Array, ""]
    score: Float[Array, ""]
    slope: Float[Array, "12"]
    curvature: Float[Array, "12 12"]


def make_problem(fixed: Lattice, moving: Lattice) -> Problem:
    """The search between a fixed lattice and a moving one."""
    shape = fixed.values.shape[:-1]
    middle = (jnp.array(shape, fixed.axes.dtype) - 1) / 2
    index = identity_grid(shape, fixed.axes.dtype).reshape(-1, 3) - middle[None]
    slopes = jnp.stack(gradient(moving.values), axis=-1)
    return Problem(
        index @ fixed.axes.T,
        fixed.values.reshape(-1, 2),
        jnp.concatenate([moving.values, slopes[..., 0, :], slopes[..., 1, :]], axis=-1),
        jnp.linalg.inv(moving.axes),
        fixed.radius,
    )


def evaluate(problem: Problem, pose: Pose, similarity: Similarity) -> Evaluation:
    """The score of a pose (higher is better) with its derivatives."""
    middle = (problem.moving.shape[0] - 1) / 2
    world = problem.points @ pose.linear.T + pose.translation[None]
    sampled = sample(problem.moving, world @ problem.to_lattice.T + middle)
    brain_fixed, brain_warped = problem.fixed[:, 1], sampled[:, 1]
    fixed = problem.fixed[:, 0] / jnp.maximum(brain_fixed, _FAINT)
    warped = sampled[:, 0] / jnp.maximum(brain_warped, _FAINT)
    weighting = _WEIGHTING[similarity]
    weight = lax.stop_gradient((brain_fixed * brain_warped) ** weighting.power)
    everywhere = jnp.ones_like(weight)

    tissue, pull_tissue = jax.value_and_grad(_tissue)(warped, fixed, weight, similarity)
    outline, pull_outline = jax.value_and_grad(_correlation)(brain_warped, brain_fixed, everywhere)
    unexplained = _variance(warped, weight) * jnp.exp(-2 * tissue)

    brain_slope = sampled[:, 5:]
    inside = (brain_warped > _FAINT)[:, None]
    tissue_slope = (sampled[:, 2:5] - jnp.where(inside, warped[:, None] * brain_slope, 0)) / (
        jnp.maximum(brain_warped, _FAINT)[:, None]
    )
    by_tissue = _jacobian(problem, pose, tissue_slope)
    by_outline = _jacobian(problem, pose, brain_slope)
    curvature = _covariance(by_tissue, weight) / jnp.maximum(unexplained, _TINY)
    spread = jnp.maximum(_variance(brain_warped, everywhere), _TINY)
    curvature += weighting.outline * _covariance(by_outline, everywhere) / spread
    return Evaluation(
        tissue,
        outline,
        tissue + weighting.outline * outline,
        pull_tissue @ by_tissue + weighting.outline * (pull_outline @ by_outline),
        curvature,
    )


def _jacobian(problem: Problem, pose: Pose, image_slope):
    """(N, 12) change of the warped samples per mm of step."""
    per_mm = image_slope @ problem.to_lattice
    turned = per_mm @ pose.linear
    products = (turned[:, :, None] * problem.points[:, None, :]).reshape(-1, 9)
    flat = jnp.asarray(GENERATORS.reshape(9, 9), products.dtype)
    return jnp.concatenate([per_mm, products @ flat.T / problem.radius], axis=1)


def _covariance(columns, weight):
    total = jnp.maximum(weight.sum(), _TINY)
    mean = weight @ columns / total
    return (columns * weight[:, None]).T @ columns / total - mean[:, None] * mean[None, :]


def _variance(values, weight):
    total = jnp.maximum(weight.sum(), _TINY)
    return weight @ (values - weight @ values / total) ** 2 / total


def ascend(
    problem: Problem,
    pose: Pose,
    schedule: Float[Array, "steps 12"],
    similarity: Similarity,
) -> tuple[Pose, Float[Array, ""]]:
    """The pose after the scheduled steps, less those that lowered the score, and its score.

    Args:
        problem: the level.
        pose: where to begin.
        schedule: (steps, 12) for each step, 1 for the parameters that may change, else 0.
        similarity: "ncc" or "mi".
    """

    def body(state, free):
        pose, there, damping = state
        diagonal = jnp.diagonal(there.curvature)
        ridge = damping * (diagonal + 1e-3 * diagonal.mean())
        system = (there.curvature + jnp.diag(ridge)) * free[:, None] * free[None, :]
        system = system + jnp.diag(1 - free)
        step = jnp.linalg.solve(system, there.slope * free)
        # A quarter of the radius is some 15°: beyond, the linear model is worth nothing.
        length = jnp.linalg.norm(step)
        step = step * jnp.minimum(1, 0.25 * problem.radius / jnp.maximum(length, _TINY))
        next_pose = move(pose, step, problem.radius)
        next_there = evaluate(problem, next_pose, similarity)
        better = next_there.score > there.score
        new = (next_pose, next_there, jnp.maximum(damping * 0.2, 1e-4))
        old = (pose, there, jnp.minimum(damping * 8, 1e4))
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old), None

    # The first step, from nothing known, is zero and always kept: `evaluate` compiles once.
    zero = jnp.zeros_like(problem.radius)
    none = jnp.zeros_like(schedule[0])
    nothing = Evaluation(zero, zero, zero - jnp.inf, none, jnp.diag(none + 1))
    first = (pose, nothing, zero + 0.5)
    (pose, there, _), _ = lax.scan(body, first, jnp.concatenate([none[None], schedule]))
    return pose, there.score


def _tissue(warped, fixed, weight, similarity: Similarity):
    if similarity == "mi":
        shape = (-1, 1, 1, 1)
        loss = mutual_information(
            fixed.reshape(shape), warped.reshape(shape), bins=_BINS, mask=weight.reshape(shape[:3])
        )
        return -loss
    correlation = _correlation(warped, fixed, weight)
    return -0.5 * jnp.log(1 + _TINY - correlation * jnp.abs(correlation))


def _correlation(warped, fixed, weight):
    total = jnp.maximum(weight.sum(), _TINY)
    fixed = fixed - weight @ fixed / total
    warped = warped - weight @ warped / total
    power = (weight @ fixed**2) * (weight @ warped**2)
    return (weight * fixed) @ warped * lax.rsqrt(power + 1e-12)
