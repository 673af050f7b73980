"""Smoothness of a displacement field, and a penalty on its folds.

Displacements are in voxels of their own grid. With `spacing` (mm per voxel along each axis) the
derivatives are those of the displacement in mm, per mm: an anisotropic grid then counts rightly.
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.jacobian import jacobian_determinant

LEAST_VOXELS = {"diffusion": 2, "bending": 3}
"""An axis, that the differences of each regularity take."""


def diffusion(
    displacement: Float[Array, "*space n"], spacing: Sequence[float] = (1.0, 1.0, 1.0)
) -> Float[Array, ""]:
    """Mean squared first derivative, over voxels, components i and axes j: ⟨(∂_j u_i)²⟩.

    Differences of neighbouring voxels. Dimensionless, so of one size at every resolution.

    Args:
      displacement: (D, H, W, 3), in voxels.
      spacing: mm per voxel along each axis; only their ratios matter here.

    Raises:
      ValueError: the spacing has not one entry an axis, or an axis has fewer than 2 voxels.
    """
    displacement, steps = _physical(displacement, spacing, shortest=LEAST_VOXELS["diffusion"])
    squares = [
        jnp.mean((jnp.diff(displacement, axis=axis) / step) ** 2) for axis, step in enumerate(steps)
    ]
    return jnp.stack(squares).mean()


def bending_energy(
    displacement: Float[Array, "*space n"], spacing: Sequence[float] = (1.0, 1.0, 1.0)
) -> Float[Array, ""]:
    """Mean over voxels and components of Σ_jk (∂_j ∂_k u_i)², which is 0 for every affine map.

    Rueckert et al., IEEE TMI 1999. Second differences on the voxels that have all of the
    neighbours these need. In 1/mm² (1/voxel² with the default spacing).

    Args:
      displacement: (D, H, W, 3), in voxels.
      spacing: mm per voxel along each axis.

    Raises:
      ValueError: the spacing has not one entry an axis, or an axis has fewer than 3 voxels.
    """
    displacement, steps = _physical(displacement, spacing, shortest=LEAST_VOXELS["bending"])
    total = jnp.zeros((), displacement.dtype)
    axes = range(len(steps))
    for j, k in itertools.combinations_with_replacement(axes, 2):
        if j == k:
            second = jnp.diff(displacement, n=2, axis=j) / steps[j] ** 2
            cut = set(axes) - {j}
        else:
            second = _central(_central(displacement, j), k) / (steps[j] * steps[k])
            cut = set(axes) - {j, k}
        interior = tuple(slice(1, -1) if axis in cut else slice(None) for axis in axes)
        total = total + (1 if j == k else 2) * jnp.mean(second[interior] ** 2)
    return total


def jacobian_hinge(
    displacement: Float[Array, "*space n"], *, margin: float = 0.05
) -> Float[Array, ""]:
    """Mean of max(0, margin − det ∂φ/∂x): 0 where no voxel shrinks below `margin` of its volume.

    Linear, so that the gradient does not fade on voxels that have only just folded.
    """
    return jnp.maximum(margin - jacobian_determinant(displacement), 0).mean()


def _physical(displacement, spacing, *, shortest: int):
    """Displacement in mm, and the mm of a step along each axis; guards on the shape."""
    space = displacement.shape[:-1]
    # The default of (1, 1, 1) serves images of fewer axes as well.
    if len(spacing) < len(space) or (len(spacing) > len(space) and set(spacing) != {1.0}):
        raise ValueError(f"spacing {tuple(spacing)} needs one entry an axis of {space}")
    if min(space) < shortest:
        raise ValueError(f"a grid of {space} is too small: {shortest} voxels an axis are needed")
    steps = tuple(float(step) for step in spacing[: len(space)])
    scale = jnp.asarray(steps, displacement.dtype).reshape((1,) * len(space) + (-1,))
    return displacement * scale, steps


def _central(field, axis: int):
    size = field.shape[axis]
    ahead = lax.slice_in_dim(field, 2, size, axis=axis)
    behind = lax.slice_in_dim(field, 0, size - 2, axis=axis)
    return 0.5 * (ahead - behind)
