"""Robust translation, rigid or affine alignment of two brains of any geometry."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from drivenmorph_jax.alignment.lattice import Lattice, clip_bright, lattice, locate_brain
from drivenmorph_jax.alignment.pose import Kind, Pose, active, move, world_matrix
from drivenmorph_jax.alignment.search import (
    Problem,
    Similarity,
    ascend,
    evaluate,
    make_problem,
)
from drivenmorph_jax.alignment.starts import start_rotations

# Images are padded with background to multiples of this: few shapes, few compilations.
_SHAPE_STEP = 32


@dataclass(frozen=True)
class AlignmentConfig:
    """How much work the search does.

    Attributes:
        points: per axis of the fixed lattice, coarse to fine.
        resolution: per axis of the moving lattice, a cube of four times the brain's root mean
            square radius (some 235 mm): 28 points are 8.4 mm apart, 84 are 2.8 mm.
        iterations: steps with all parameters free, at each level.
        candidates: poses that each level begins with, the best of those before.
        start_iterations: rigid steps before, from all starts, then from the first candidates.
    """

    points: tuple[int, ...] = (20, 40, 60)
    resolution: tuple[int, ...] = (28, 56, 84)
    iterations: tuple[int, ...] = (10, 8, 5)
    candidates: tuple[int, ...] = (8, 2, 1)
    start_iterations: tuple[int, int] = (4, 6)


class Alignment(NamedTuple):
    """Result of `align`.

    Attributes:
        matrix: (4, 4), fixed-world to moving-world coordinates, RAS mm (pull-back).
        score: () similarity of the tissue where both brains are, at the finest level: the
            correlation coefficient, or mutual information in nats.
        overlap: () correlation of the two brains' outlines, 1 where they coincide.
    """

    matrix: Float[Array, "4 4"]
    score: Float[Array, ""]
    overlap: Float[Array, ""]


def align(
    fixed: Num[Array | np.ndarray, "x y z"],
    moving: Num[Array | np.ndarray, "u v w"],
    fixed_affine: Float[Array | np.ndarray, "4 4"],
    moving_affine: Float[Array | np.ndarray, "4 4"],
    *,
    kind: Kind = "affine",
    similarity: Similarity = "mi",
    config: AlignmentConfig = AlignmentConfig(),
) -> Alignment:
    """Find where each point of the fixed brain lies in the moving image.

    Starts from the brains' centres, in rotations up to 45° about all axes and those that match
    the principal axes; each is optimised on a coarse lattice, the best are refined on finer ones.
    Lattices scale with the brain and have fixed shapes: the search compiles once for all images.

    Pure; works under jit, vmap and grad. The matrix is differentiable in the intensities of both
    images through the optimum's implicit function (forward and reverse), not in the affines.

    Args:
        fixed, moving: (X, Y, Z) brain-extracted images, background 0, any shapes.
        fixed_affine, moving_affine: (4, 4), voxel to RAS mm.
        kind: what may change: "translation", "rigid" or "affine".
        similarity: "mi" for any contrasts; "ncc", a little faster, for one.
        config: the search's effort.

    Raises:
        ValueError: `kind` or `similarity` is unknown.
    """
    if similarity not in ("ncc", "mi"):
        raise ValueError(f"similarity must be ncc or mi, not {similarity!r}")
    free = active(kind)
    problems = [
        _lattices(_pad(image), jnp.asarray(affine), tight=tight, config=config)
        for image, affine, tight in ((fixed, fixed_affine, True), (moving, moving_affine, False))
    ]
    return _search(*problems, jnp.asarray(free), similarity=similarity, config=config)


def _pad(image):
    """Background up to the next round shape; on the host where the image is there."""
    xp = np if isinstance(image, np.ndarray) else jnp
    image = xp.asarray(image)
    if not xp.issubdtype(image.dtype, xp.floating):
        image = image.astype(np.float32)
    return xp.pad(image, [(0, -size % _SHAPE_STEP) for size in image.shape])


@partial(jax.jit, static_argnames=("tight", "config"))
def _lattices(image, affine, *, tight: bool, config: AlignmentConfig):
    """The lattices of all levels, and the brain's covariance in world axes."""
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    image, affine = image.astype(dtype), affine.astype(dtype)
    brain = locate_brain(image)
    image = clip_bright(image)
    levels = [
        lattice(image, affine, brain, points if tight else size, tight=tight, resolution=size)
        for points, size in zip(config.points, config.resolution, strict=True)
    ]
    return levels, affine[:3, :3] @ brain.covariance @ affine[:3, :3].T


@partial(jax.jit, static_argnames=("similarity", "config"))
def _search(fixed, moving, free, *, similarity: Similarity, config: AlignmentConfig) -> Alignment:
    fixed_levels: list[Lattice] = fixed[0]
    moving_levels: list[Lattice] = moving[0]
    levels = [make_problem(*pair) for pair in zip(fixed_levels, moving_levels, strict=True)]
    free = free.astype(levels[0].points.dtype)
    constant = lax.stop_gradient(levels)

    poses = _starts(fixed, moving, free)
    rigid = free * (jnp.arange(12) < 6)
    first, second = config.start_iterations
    stages = [(constant[0], [rigid] * first, len(poses.linear))]
    for level, steps, count in zip(constant, config.iterations, config.candidates, strict=True):
        before = [rigid] * second if level is constant[0] else []
        stages.append((level, before + [free] * steps, count))
    scores = jnp.zeros(len(poses.linear), free.dtype)
    for level, schedule, count in stages:
        poses = _best(poses, scores, count)
        run = partial(ascend, similarity=similarity)
        poses, scores = jax.vmap(run, in_axes=(None, 0, None))(level, poses, jnp.stack(schedule))
    pose = jax.tree.map(lambda leaf: leaf[0], _best(poses, scores, 1))
    pose = _implicit(levels[-1], pose, free, similarity)
    matrix = world_matrix(pose, fixed_levels[-1].centre, moving_levels[-1].centre)
    reached = evaluate(levels[-1], pose, similarity)
    score = reached.tissue
    if similarity == "ncc":
        score = jnp.sqrt(jnp.maximum(1 - jnp.exp(-2 * score), 1e-12))
    return Alignment(matrix, score, reached.outline)


def _starts(fixed, moving, free) -> Pose:
    """Stacked poses: rotations if free, scaled by the brains' sizes if free, centre on centre."""
    rotations = start_rotations(fixed[1], moving[1])
    scale = jnp.where(free[6] > 0, moving[0][0].radius / fixed[0][0].radius, 1)
    rotations = jnp.where(free[3] > 0, rotations, jnp.eye(3, dtype=rotations.dtype)[None])
    return lax.stop_gradient(
        Pose(rotations * scale, jnp.zeros((len(rotations), 3), rotations.dtype))
    )


def _best(poses: Pose, scores, count: int) -> Pose:
    chosen = lax.top_k(scores, count)[1]
    return jax.tree.map(lambda leaf: leaf[chosen], poses)


def _implicit(level: Problem, pose: Pose, free, similarity: Similarity) -> Pose:
    """The same pose, with its derivative in the images by the implicit function theorem.

    At the optimum the slope is zero for any images; so d(step) = −(∂slope/∂step)⁻¹ ∂slope. The
    search itself need not be differentiated, nor its iterates kept.
    """

    def slope(step):
        gradient = evaluate(level, move(pose, step, level.radius), similarity).slope
        return jnp.where(free > 0, gradient, step)

    def solve(linear, right):
        matrix = jax.vmap(linear, out_axes=1)(jnp.eye(12, dtype=right.dtype))
        return jnp.linalg.solve(matrix, right)

    zero = jnp.zeros(12, level.points.dtype)
    return move(pose, lax.custom_root(slope, zero, lambda _, start: start, solve), level.radius)
