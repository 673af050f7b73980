"""At which resolution a pair is registered: the method's own, or finer where the images are."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images import Grid, Volume
from drivenmorph_jax.model import Ignored, Registration
from drivenmorph_jax.pipeline.methods import Finish, Method, Solve
from drivenmorph_jax.pipeline.working_space import finer_grid
from drivenmorph_jax.spatial.resize import downsample

# A voxel this much larger than that of the finer grid is near enough: T1 slices of 1.2 mm to 1 mm.
_NEARLY = 1.25


def at_resolution_of(
    method: Method, grid: Grid, fixed: Volume, moving: Volume
) -> tuple[Solve, Grid]:
    """How to solve a pair, and on which grid: as the method does, or finer.

    Finer, on a grid of half the spacing, if the method goes on there and both images are as fine
    along every axis.

    Args:
        method: has solved on `grid` alone so far.
        grid: its working grid for this fixed image.
        fixed, moving: with axes R, A, S.
    """
    target = np.linalg.norm(grid.affine[:3, :3], axis=0) / 2
    fine = all((image.spacing <= _NEARLY * target).all() for image in (fixed, moving))
    finer = finer_grid(fixed, grid) if fine else None
    if method.finish is None or finer is None:
        return method.solve, grid
    return _finished(method.solve, method.finish), finer


def _finished(solve: Solve, finish: Finish) -> Solve:
    """Solve at half the resolution, and finish what was found at the whole."""

    def solve_finer(fixed, moving, ignored: Ignored | None) -> Registration:
        half = ignored and Ignored(*(downsample(share) for share in ignored))
        found = solve(_halved(fixed), _halved(moving), half)
        displacement = finish(fixed, moving, ignored, np.asarray(found.displacement))
        return found._replace(displacement=displacement)

    return solve_finer


def _halved(image: Float[ndarray, "d h w"]) -> Float[ndarray, "d2 h2 w2"]:
    return np.asarray(downsample(jnp.asarray(image)[..., None])[..., 0])
