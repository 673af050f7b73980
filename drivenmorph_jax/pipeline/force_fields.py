"""What drove a registration, in the world of the fixed image: its force, and its Demons step."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images import Grid, Volume, resample
from drivenmorph_jax.images.threads import in_threads
from drivenmorph_jax.model import LevelResult, Registration
from drivenmorph_jax.spatial.resize import downsampled_shape

FORCE_UNITS = "driving force: sum over finest level, LPS covector, feature^2 per mm"
STEP_UNITS = "Demons step: last of finest level, raw (unbounded, unsmoothed), LPS mm"


class ForceFields(NamedTuple):
    """Of the finest level that carries a force; on a grid of the caller's, 0 beyond the working
    grid, in the fixed image's world axes (RAS), before the affine.

    Attributes:
        driving_force: (X, Y, Z, 3), the sum over the level's iterations, a covector, feature²/mm.
        demons_step: (X, Y, Z, 3), δ = s·(H + λI)⁻¹f of the level's last iteration, a vector, mm.
    """

    driving_force: Float[ndarray, "x y z 3"]
    demons_step: Float[ndarray, "x y z 3"]


def force_fields(registration: Registration, working: Grid, onto: Grid) -> ForceFields:
    """Force and step on another grid, interpolated linearly.

    Args:
        registration: on the working grid, in voxels of its levels.
        working: the working grid.
        onto: the grid of the result, the fixed image's own for instance.
    """
    finest: LevelResult = registration.levels[-1]
    force, step = np.asarray(finest.driving_force).sum(0), np.asarray(finest.raw_step)[-1]
    affine = level_affine(working, force.shape[:3])
    axes = affine[:3, :3]
    # f counts per voxel, f_i = −∂E/∂v_i: with x = A v, −∂E/∂x is A⁻ᵀ f. A step δ goes along: A δ.
    return ForceFields(
        _onto(force @ np.linalg.inv(axes), affine, onto), _onto(step @ axes.T, affine, onto)
    )


def level_affine(working: Grid, shape: tuple[int, ...]) -> Float[ndarray, "4 4"]:
    """Voxels of a level of the pyramid to world mm: a coarse voxel is centred on those it covers.

    Raises:
        ValueError: halving the working grid never gives this shape.
    """
    level, current = 0, tuple(working.shape)
    while current != tuple(shape):
        if max(current) == 1:
            raise ValueError(f"{tuple(working.shape)} cannot be halved to {tuple(shape)}")
        current, level = downsampled_shape(current), level + 1
    factor = 2.0**level
    to_fine = np.diag([factor, factor, factor, 1.0])
    to_fine[:3, 3] = (factor - 1) / 2
    return working.affine @ to_fine


def _onto(
    vectors: Float[ndarray, "d h w 3"], affine: Float[ndarray, "4 4"], onto: Grid
) -> Float[ndarray, "x y z 3"]:

    def component(axis: int) -> Float[ndarray, "x y z"]:
        return resample(Volume(vectors[..., axis], affine), *onto).data

    return np.stack(in_threads(component, range(3)), axis=-1)
