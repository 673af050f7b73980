"""Inverse of a displacement field, with its residual and an implicit derivative."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.jacobian import jacobian_matrix
from drivenmorph_jax.spatial.sampling import identity_grid, sample, warp


class Inverse(NamedTuple):
    """An inverse displacement and how exact it is.

    Attributes:
      displacement: w, (D, H, W, 3) in voxels, with x + w(x) + u(x + w(x)) ≈ x.
      residual: (D, H, W), |w(x) + u(x + w(x))| in voxels; large where u folds, and where the
        inverse leaves the grid. It carries no derivative.
    """

    displacement: Float[Array, "*space n"]
    residual: Float[Array, "*space"]


def invert(
    displacement: Float[Array, "*space n"],
    *,
    iterations: int = 60,
    tolerance: float = 1e-4,
) -> Inverse:
    """Solve w(x) = -u(x + w(x)) at every voxel.

    A fixed-point step is taken where it contracts (Lip(u) < 1), a damped Newton step with
    (I + ∇u)⁻¹ where the fixed point would not (Chen et al., Med. Phys. 2008; Newton in the manner
    of Christensen & Johnson 2001). Derivatives come from the implicit function theorem through
    `lax.custom_root`, forward and reverse, so that no iteration is stored.

    Args:
      displacement: u, (D, H, W, 3) or (H, W, 2), in voxels.
      iterations: the most iterations.
      tolerance: stop once no residual inside the grid exceeds it, in voxels.

    Returns:
      The inverse and its residual. Nothing is raised where no inverse exists: look at `residual`.
    """
    grid = identity_grid(displacement.shape[:-1], displacement.dtype)

    def equation(w):
        return w + warp(displacement, w, boundary="edge")

    def solve(_, start):
        return _iterate(lax.stop_gradient(displacement), start, grid, iterations, tolerance)

    def tangent_solve(linear, rhs):
        return _solve_pointwise(linear, rhs)

    w = lax.custom_root(equation, jnp.zeros_like(displacement), solve, tangent_solve)
    # Often exactly 0, where a norm has no derivative: the residual is a statistic without one.
    residual = jnp.linalg.norm(lax.stop_gradient(equation(w)), axis=-1)
    return Inverse(w, residual)


def _iterate(u, start, grid, iterations: int, tolerance: float):
    n = u.shape[-1]
    flat_matrix = jacobian_matrix(u).reshape(*u.shape[:-1], n * n)

    def residual(w):
        return w + sample(u, grid + w, boundary="edge")

    def unfinished(state):
        count, _, error = state
        return (count < iterations) & (error > tolerance)

    def step(state):
        count, w, _ = state
        r = residual(w)
        matrix = sample(flat_matrix, grid + w, boundary="edge").reshape(*u.shape[:-1], n, n)
        newton = _solve_small(matrix, r, floor=0.1)  # damps the step, not the answer
        candidates = jnp.stack([w - r, w - newton, w - 0.5 * r])
        errors = jnp.stack([jnp.linalg.norm(residual(c), axis=-1) for c in candidates])
        best = jnp.argmin(errors, axis=0)
        chosen = jnp.take_along_axis(candidates, best[None, ..., None], axis=0)[0]
        improved = jnp.min(errors, axis=0) < jnp.linalg.norm(r, axis=-1)
        w = jnp.where(improved[..., None], chosen, w)
        return count + 1, w, jnp.max(jnp.linalg.norm(residual(w), axis=-1))

    first = jnp.max(jnp.linalg.norm(residual(start), axis=-1))
    _, w, _ = lax.while_loop(unfinished, step, (jnp.zeros((), jnp.int32), start, first))
    return w


def _solve_small(matrix, rhs, *, floor: float):
    """Solve n×n systems per voxel by Cramer's rule, with a floor on |det| where the map folds."""
    n = rhs.shape[-1]
    if n == 2:
        a, b, c, d = (matrix[..., i, j] for i in range(2) for j in range(2))
        adjugate = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
        det = a * d - b * c
    else:
        rows = [matrix[..., i, :] for i in range(3)]
        cofactors = [jnp.cross(rows[(i + 1) % 3], rows[(i + 2) % 3]) for i in range(3)]
        adjugate = jnp.stack(cofactors, axis=-1)
        det = jnp.sum(rows[0] * cofactors[0], axis=-1)
    least = jnp.where(det < 0, -floor, floor).astype(det.dtype)
    det = jnp.where(jnp.abs(det) < floor, least, det)
    return jnp.einsum("...ij,...j->...i", adjugate, rhs) / det[..., None]


def _solve_pointwise(linear, rhs):
    """Solve a linear map that acts at each voxel alone: probe it with the unit vectors.

    The derivative of w + u(x + w) in w couples nothing across voxels (w enters at its own voxel
    only), so its n×n blocks are read off with n products.
    """
    n = rhs.shape[-1]
    unit = jnp.eye(n, dtype=rhs.dtype)
    columns = [linear(jnp.broadcast_to(unit[i], rhs.shape)) for i in range(n)]
    # Low enough to leave the derivative of any map that is worth inverting exact.
    return _solve_small(jnp.stack(columns, axis=-1), rhs, floor=1e-3)
