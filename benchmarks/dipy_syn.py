"""SyN as dipy has it, on arrays of the common grid."""

import numpy as np
from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
from dipy.align.metrics import CCMetric
from numpy import ndarray

SETTINGS = {"metric": "CC", "radius": 4, "sigma_diff": 2.0, "iterations": [100, 100, 25]}
"""dipy's defaults, written out."""


def register(
    fixed: ndarray,
    moving: ndarray,
    spacing: tuple[float, float, float],
    iterations: list[int] = SETTINGS["iterations"],
) -> ndarray:
    """Displacement of symmetric diffeomorphic registration, (D, H, W, 3) in voxels.

    Args:
      fixed, moving: (D, H, W), on one grid.
      spacing: mm per voxel.
      iterations: of the levels, coarse to fine.
    """
    metric = CCMetric(3, sigma_diff=SETTINGS["sigma_diff"], radius=SETTINGS["radius"])
    registration = SymmetricDiffeomorphicRegistration(metric, level_iters=list(iterations))
    registration.verbosity = 0
    to_world = np.diag([*spacing, 1.0])
    images = [np.asarray(image, np.float32) for image in (fixed, moving)]
    mapping = registration.optimize(*images, static_grid2world=to_world, moving_grid2world=to_world)
    # Millimetres along the axes of the grid, at the fixed image's voxels.
    return (np.asarray(mapping.get_forward_field()) / np.array(spacing)).astype(np.float32)
