"""A registration made by hand: all that follows one can be tested without the seconds it takes."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from drivenmorph_jax.images import Volume, canonical, warp_volume, world_displacement
from drivenmorph_jax.model import LevelResult, Registration
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.working_space import choose_grid, to_working_space
from tests.pipeline.brains import GRIDS, brain

SPACING = (2.5, 2.5, 2.5)


class Canned(NamedTuple):
    """A pair and its registration."""

    fixed: Volume
    moving: Volume
    registered: Registered


def canned(fixed_name: str = "oblique", moving_name: str = "thick", *, size: float = 5.0) -> Canned:
    """Two brains on awkward grids, an affine with all its parts, and a smooth deformation.

    Args:
        fixed_name, moving_name: of GRIDS.
        size: of the largest displacement, in mm; 0 leaves the affine.
    """
    fixed, moving = brain(fixed_name), brain(moving_name)
    grid = choose_grid(canonical(fixed), spacing=SPACING, least_shape=None)
    matrix = between(fixed_name, moving_name)
    displacement = smooth(grid.shape, size / SPACING[0], seed=0)
    registration = Registration(displacement, (level(grid.shape, halvings=1),))
    field = world_displacement(displacement, grid.affine, matrix, fixed.shape, fixed.affine)
    return Canned(
        fixed,
        moving,
        Registered(
            field,
            matrix,
            warp_volume(moving, field, fixed.affine),
            to_working_space(canonical(fixed), canonical(moving), matrix, grid),
            registration,
            None,
        ),
    )


def between(fixed_name: str, moving_name: str) -> np.ndarray:
    """From the one's place in the scanner to the other's, turned, scaled and sheared a little."""
    middles = [np.asarray(GRIDS[n][1].get("centre", (0, 0, 0))) for n in (fixed_name, moving_name)]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [4, -6, 9], degrees=True).as_matrix() @ (
        np.diag([1.05, 0.95, 1.02]) + 0.03 * np.eye(3, k=1)
    )
    matrix[:3, 3] = middles[1] + [1.0, -2.0, 1.5] - matrix[:3, :3] @ middles[0]
    return matrix


def level(shape, *, halvings: int) -> LevelResult:
    """A level with force and step; two iterations' forces."""
    for _ in range(halvings):
        shape = tuple(-(-n // 2) for n in shape)
    force = np.stack([smooth(shape, 1.0, seed=1), smooth(shape, 1.0, seed=2)])
    step = smooth(shape, 0.5, seed=3)[None]
    ones = np.ones(2, np.float32)
    return LevelResult(step[0], step[0], step, force, step, ones, ones)


def smooth(shape, size: float, *, seed: int) -> np.ndarray:
    """A smooth random field whose longest vector is `size`."""
    noise = np.random.default_rng(seed).normal(size=(*shape, 3))
    field = ndimage.gaussian_filter(noise, (3, 3, 3, 0), mode="wrap")
    return (field * size / np.linalg.norm(field, axis=-1).max()).astype(np.float32)
