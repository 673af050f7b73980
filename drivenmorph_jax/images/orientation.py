"""Reorder axes to RAS+ without touching a voxel's value; exactly invertible."""

import numpy as np
from nibabel import orientations

from drivenmorph_jax.images.volume import Volume


def canonical(volume: Volume) -> Volume:
    """The same image with axes permuted and flipped so that they run closest to R, A, S."""
    return _reorient(volume, orientations.io_orientation(volume.affine))


def like(volume: Volume, affine: np.ndarray) -> Volume:
    """The same image with the axis order of `affine`; undoes `canonical`.

    `like(canonical(v), v.affine)` is `v`, its data bit for bit.
    """
    change = orientations.ornt_transform(
        orientations.io_orientation(volume.affine), orientations.io_orientation(affine)
    )
    return _reorient(volume, change)


def _reorient(volume: Volume, change: np.ndarray) -> Volume:
    data = np.ascontiguousarray(orientations.apply_orientation(volume.data, change))
    return Volume(data, volume.affine @ orientations.inv_ornt_aff(change, volume.shape))
