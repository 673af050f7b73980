"""Pairs of two contrasts with a known deformation between them, after the affine."""

import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from imposed import Imposed, origins, points_in
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.alignment import align
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, load_volume, resample, working_grid
from drivenmorph_jax.spatial.sampling import warp

CONTRASTS = ("t2", "flair")
POINTS = 2_000
SPACING = 1.0
"""mm of the common grid."""
# Around a brain of 127 × 160 × 126 voxels: no deformation moves it off the grid.
_SHAPE = (160, 192, 160)


class Case(NamedTuple):
    """A pair after the affine, and where the points of the fixed image truly are.

    Attributes:
      fixed: (D, H, W).
      moving: (D, H, W), resampled once along the affine.
      matrix: (4, 4), fixed voxels to voxels of the deformed image.
      points: (N, 3), voxels of the fixed image.
      places: (N, 3), the same in voxels of the deformed image.
    """

    fixed: Float[ndarray, "d h w"]
    moving: Float[ndarray, "d h w"]
    matrix: Float[ndarray, "4 4"]
    points: Float[ndarray, "n 3"]
    places: Float[ndarray, "n 3"]


def load_contrasts(folder: pathlib.Path) -> dict[str, Volume]:
    """T1, T2 and FLAIR on one grid at 1 mm, each scaled to 1 at its 99.9th percentile."""
    grid, images = None, {}
    for name in ("t1", *CONTRASTS):
        found = sorted(folder.glob(f"*_{name}.nii.gz"))
        if not found:
            raise InputError(f"no *_{name}.nii.gz in {folder}: set DRIVENMORPH_DATA or --data")
        volume = load_volume(found[0])
        grid = grid or working_grid(volume, SPACING, shape=_SHAPE)
        data = np.maximum(resample(volume, *grid).data, 0)
        bright = np.float32(np.percentile(data[data > 0], 99.9))
        images[name] = Volume(data / bright, grid.affine)
    return images


def make_case(images: dict[str, Volume], contrast: str, deformation: Imposed) -> Case:
    """The T1 deformed and brought back as far as an affine can, and the contrast as it is."""
    fixed, original = images[contrast], images["t1"]
    image, displacement = map(jnp.asarray, (original.data[..., None], deformation.displacement))
    deformed = np.asarray(warp(image, displacement))[..., 0]
    arrays: tuple[Any, ...] = (fixed.data, deformed, fixed.affine, fixed.affine)
    world = np.asarray(align(*arrays, kind="affine", similarity="mi").matrix, np.float64)
    moving = resample(Volume(deformed, fixed.affine), fixed.shape, fixed.affine, matrix=world)
    points = points_in(np.random.default_rng(0), (fixed.data != 0) & (original.data != 0), POINTS)
    return Case(
        fixed.data,
        moving.data,
        np.linalg.inv(fixed.affine) @ world @ fixed.affine,
        points,
        origins(deformation.displacement, points),
    )


def point_errors(displacement: Float[ndarray, "d h w 3"], case: Case) -> Float[ndarray, " n"]:
    """mm from where the map leads each point to where it truly is, in the deformed image."""
    index = tuple(case.points.astype(int).T)
    moved = case.points + displacement[index]
    found = moved @ case.matrix[:3, :3].T + case.matrix[:3, 3]
    return np.linalg.norm(found - case.places, axis=-1) * SPACING
