"""Two images in memory, of any geometry; the map between them, and the moved image."""

import logging
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.alignment import Alignment, align
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, canonical, warp_volume, world_displacement
from drivenmorph_jax.model import Registration
from drivenmorph_jax.pipeline.lesions import fill, ignored_on
from drivenmorph_jax.pipeline.methods import Method, solve_checked
from drivenmorph_jax.pipeline.resolution import at_resolution_of
from drivenmorph_jax.pipeline.stages import Stages
from drivenmorph_jax.pipeline.working_space import WorkingPair, choose_grid, to_working_space

_log = logging.getLogger(__name__)

_POOR_OVERLAP = 0.6


class Registered(NamedTuple):
    """A registration; all maps are pull-back, from the fixed to the moving world, in RAS mm.

    Attributes:
        displacement: (X, Y, Z, 3) mm on the fixed image's own grid, the affine included: the fixed
            image's point x corresponds to the moving image's x + displacement(x).
        matrix: (4, 4), the affine alone.
        warped: the moving image on the fixed image's own grid, resampled once.
        working: the pair as the method saw it, after the affine.
        deformable: what the method found after the affine, in voxels of the working grid.
        alignment: what the search for the affine says of its result; None if there was none.
    """

    displacement: Float[ndarray, "x y z 3"]
    matrix: Float[ndarray, "4 4"]
    warped: Volume
    working: WorkingPair
    deformable: Registration
    alignment: Alignment | None


def register_volumes(
    fixed: Volume,
    moving: Volume,
    method: Method,
    *,
    fixed_lesion: Volume | None = None,
    moving_lesion: Volume | None = None,
    initial_affine: Float[ndarray, "4 4"] | None = None,
    stages: Stages | None = None,
) -> Registered:
    """Register two brain-extracted images of any orientation, spacing and shape.

    An affine from the brains' centres, then the method on its working grid (finer where both images
    are, and the method goes on there), then both as one displacement on the fixed image's own grid,
    through which the moving image is sampled once (linear).

    Args:
        fixed, moving: background exactly 0.
        method: `network_method(...)` or `demons_method(...)`.
        fixed_lesion, moving_lesion: on their images' grids; where one is not 0 nothing is
            compared, and the map continues smoothly from around it.
        initial_affine: fixed world to moving world, RAS mm, taken as it is in place of a search.
        stages: told what is being done, and keeps the seconds.

    Raises:
        InputError: the brains do not fit the method's grid, or do not meet.
    """
    stages = stages or Stages()
    straight = canonical(fill(fixed, fixed_lesion)), canonical(fill(moving, moving_lesion))
    grid = choose_grid(straight[0], spacing=method.spacing, least_shape=method.least_shape)
    solve, grid = at_resolution_of(method, grid, *straight)
    method = method._replace(solve=solve)
    matrix, alignment = _affine(straight, initial_affine, stages)
    shape = " x ".join(str(size) for size in grid.shape)
    with stages.stage("prepare", f"resampling both to the working grid of {shape} voxels"):
        working = to_working_space(*straight, matrix, grid)
        ignored = ignored_on(grid, matrix, fixed_lesion, moving_lesion)
    with stages.stage("deform", f"deforming: {method.name} (compiles on its first run)"):
        deformable = solve_checked(method, working.fixed, working.moving, ignored)
    with stages.stage("resample", "moving the image through the whole map"):
        displacement = world_displacement(
            np.asarray(deformable.displacement), grid.affine, matrix, fixed.shape, fixed.affine
        )
        warped = warp_volume(moving, displacement, fixed.affine)
    return Registered(displacement, matrix, warped, working, deformable, alignment)


def _affine(
    straight: tuple[Volume, Volume],
    given: Float[ndarray, "4 4"] | None,
    stages: Stages,
) -> tuple[Float[ndarray, "4 4"], Alignment | None]:
    if given is not None:
        return np.asarray(given, np.float64), None
    with stages.stage("affine", "aligning: translation, rotation, scale and shear"):
        return _align(*straight)


def _align(fixed: Volume, moving: Volume) -> tuple[Float[ndarray, "4 4"], Alignment]:
    # As NumPy arrays: the search pads them on the host, without a compilation per shape.
    found = align(fixed.data, moving.data, fixed.affine, moving.affine)
    alignment = jax.device_get(found)
    matrix = np.asarray(alignment.matrix, np.float64)
    if not np.isfinite(matrix).all() or np.linalg.det(matrix[:3, :3]) <= 0:
        raise InputError("the affine alignment failed: check that both images show a brain")
    if alignment.overlap < _POOR_OVERLAP:
        _log.warning(
            "the brains' outlines agree poorly after the affine (correlation %.2f): check the "
            "result, and that both images show a whole brain",
            alignment.overlap,
        )
    return matrix, alignment
