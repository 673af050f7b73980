"""Where points come from under a displacement: Newton's method at each point by itself."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from drivenmorph_jax.spatial.materialise import materialise

# No step is longer than by a map that shrinks volumes to this; it damps steps, not the answer.
_FLATTEST = 0.05


class Preimages(NamedTuple):
    """Points, and how far their images are from where they should be.

    Attributes:
      points: v with v + u(v) ≈ t, voxels.
      residual: |v + u(v) − t|, voxels; large where the map folds, or never leads to t.
    """

    points: Float[Array, "n 3"]
    residual: Float[Array, " n"]


def preimages(
    flat: Float[Array, "m 3"],
    shape: Int[Array, "3"],
    targets: Float[Array, "n 3"],
    start: Float[Array, "n 3"],
    *,
    iterations: Int[Array, ""],
    tolerance: Float[Array, ""],
) -> Preimages:
    """Solve v + u(v) = t for each t, u interpolated linearly and held constant beyond its grid.

    Newton steps by the derivative of the interpolant itself, exact within a cell, so that two or
    three reach rounding from a fair start. A step that leads no nearer is taken back and tried at
    half its length; what is returned is never further off than the start.

    The grid's shape is a value, not a part of the types: one compilation serves all fields of one
    (padded) size.

    Args:
      flat: u in voxels, (D·H·W, 3) in the order of the grid's voxels; what follows is not read.
      shape: D, H, W, each at least 2.
      targets: t, voxels.
      start: v to begin with.
      iterations: the most of them.
      tolerance: stop once no residual exceeds it, voxels.
    """

    def unfinished(state):
        count, _, error, _, _ = state
        return (count < iterations) & jnp.any(error > tolerance)

    def step(state):
        count, points, error, newton, length = state
        trial = points - length[:, None] * newton
        trial_error, trial_newton = _judge(flat, shape, targets, trial)
        better = trial_error < error
        choose = better[:, None]
        return (
            count + 1,
            jnp.where(choose, trial, points),
            jnp.where(better, trial_error, error),
            jnp.where(choose, trial_newton, newton),
            jnp.where(better, jnp.minimum(2 * length, 1), length / 2),
        )

    first = (jnp.zeros((), jnp.int32), start, *_judge(flat, shape, targets, start))
    state = (*first, jnp.ones_like(first[2]))
    _, points, residual, _, _ = lax.while_loop(unfinished, step, state)
    return Preimages(points, residual)


def _judge(flat, shape, targets, points):
    """How far a point's image is from its target, and the step that would close that."""
    read = materialise(_read(flat, shape, points))
    off = points + read[:, :3] - targets
    columns = [read[:, 3 + 3 * axis : 6 + 3 * axis] for axis in range(3)]
    columns = [column.at[:, axis].add(1) for axis, column in enumerate(columns)]
    # Cramer's rule: the rows of the adjugate are cross products of the columns.
    rows = [jnp.cross(columns[(i + 1) % 3], columns[(i + 2) % 3]) for i in range(3)]
    determinant = (columns[0] * rows[0]).sum(-1)
    least = jnp.where(determinant < 0, -_FLATTEST, _FLATTEST).astype(determinant.dtype)
    determinant = jnp.where(jnp.abs(determinant) < _FLATTEST, least, determinant)
    newton = jnp.stack([(row * off).sum(-1) for row in rows], axis=-1) / determinant[:, None]
    return jnp.sqrt((off * off).sum(-1)), newton


def _read(flat, shape, points) -> Float[Array, "n 12"]:
    """u, then its derivatives along each axis, of the cell that holds the point."""
    last = (shape - 1).astype(points.dtype)
    low, high = jnp.zeros_like(points), jnp.broadcast_to(last, points.shape)
    held = jnp.clip(points, low, high)
    lower = jnp.minimum(jnp.floor(held), high - 1)
    fraction = [(held - lower)[:, axis, None] for axis in range(3)]
    corner = lower.astype(shape.dtype)
    first = (corner[:, 0] * shape[1] + corner[:, 1]) * shape[2] + corner[:, 2]
    steps = (shape[1] * shape[2], shape[2], jnp.ones_like(shape[2]))

    def at(i, j, k):
        where = first + i * steps[0] + j * steps[1] + k * steps[2]
        return flat.at[where].get(mode="promise_in_bounds")

    # Between the corners along z, of these along y, and of these along x; c00 is at x = y = 0.
    x, y, z = fraction
    c00, c01, c10, c11 = (_between(at(i, j, 0), at(i, j, 1), z) for i in (0, 1) for j in (0, 1))
    d00, d01, d10, d11 = (at(i, j, 1) - at(i, j, 0) for i in (0, 1) for j in (0, 1))
    c0, c1 = _between(c00, c01, y), _between(c10, c11, y)
    derivatives = (
        c1 - c0,
        _between(c01 - c00, c11 - c10, x),
        _between(_between(d00, d01, y), _between(d10, d11, y), x),
    )
    inside = (points >= low) & (points <= high)
    held_constant = [jnp.where(inside[:, axis, None], d, 0) for axis, d in enumerate(derivatives)]
    return jnp.concatenate([_between(c0, c1, x), *held_constant], axis=-1)


def _between(low, high, fraction):
    return low + fraction * (high - low)
