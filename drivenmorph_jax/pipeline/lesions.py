"""Lesions: what is not to be compared, on the images' grids and on the working grid."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from drivenmorph_jax.images import Grid, Volume, resample
from drivenmorph_jax.model import Ignored


def fill(image: Volume, lesion: Volume | None) -> Volume:
    """The image with each voxel of the lesion as the nearest one outside it, by mm.

    Nothing that follows then depends on what the lesion looked like.
    """
    if lesion is None:
        return image
    inside = lesion.data != 0
    nearest: Any = ndimage.distance_transform_edt(
        inside, sampling=lesion.spacing, return_distances=False, return_indices=True
    )
    return Volume(image.data[tuple(nearest)], image.affine)


def ignored_on(
    grid: Grid,
    matrix: Float[ndarray, "4 4"],
    fixed_lesion: Volume | None,
    moving_lesion: Volume | None,
) -> Ignored | None:
    """Both lesions' shares of the working grid's voxels, the moving one through the affine."""
    if fixed_lesion is None and moving_lesion is None:
        return None
    shares = [
        np.zeros((*grid.shape, 1), np.float32)
        if lesion is None
        else _share(lesion.data != 0, lesion.affine, grid, to_lesion)
        for lesion, to_lesion in ((fixed_lesion, np.eye(4)), (moving_lesion, matrix))
    ]
    return Ignored(*(jnp.asarray(share) for share in shares))


def _share(inside: Bool[ndarray, "x y z"], affine, grid: Grid, matrix) -> Float[ndarray, "d h w 1"]:
    soft = Volume(inside.astype(np.float32), affine)
    return resample(soft, *grid, matrix=matrix).data[..., None]
