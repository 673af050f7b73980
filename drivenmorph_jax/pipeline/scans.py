"""A pair of scans with their brain masks and label maps, read and checked."""

import itertools
import os
from typing import NamedTuple

import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, load_labels, load_volume
from drivenmorph_jax.pipeline.brain_check import check_brain_extracted

PathLike = str | os.PathLike[str]

# Label maps resampled by other tools can be off by rounding; more is another grid.
_GRID_TOLERANCE = 0.1


class Scans(NamedTuple):
    """What the user gave.

    Attributes:
        fixed, moving: images within their masks.
        fixed_labels, moving_labels: on their images' grids, both or neither.
        fixed_lesion, moving_lesion: on their images' grids, not 0 where nothing is to be compared.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_lesion: Volume | None = None
    moving_lesion: Volume | None = None


def read_scans(
    fixed: PathLike,
    moving: PathLike,
    *,
    fixed_mask: PathLike | None = None,
    moving_mask: PathLike | None = None,
    fixed_labels: PathLike | None = None,
    moving_labels: PathLike | None = None,
    fixed_lesion: PathLike | None = None,
    moving_lesion: PathLike | None = None,
) -> Scans:
    """Read the files; an image with a brain mask becomes 0 outside it, before anything else.

    Raises:
        InputError: one that cannot be used, an image that is not brain-extracted and has no mask,
            a mask without a voxel of brain, label maps that are not both there, a lesion that
            leaves nothing of a brain, or a map on another grid than its image.
    """
    if (fixed_labels is None) != (moving_labels is None):
        raise InputError("labels of one image only: give --fixed-labels and --moving-labels")
    scans = Scans(
        _read_image("fixed", fixed, fixed_mask), _read_image("moving", moving, moving_mask)
    )
    scans = scans._replace(
        fixed_lesion=_read_lesion(fixed_lesion, scans.fixed, "fixed lesion"),
        moving_lesion=_read_lesion(moving_lesion, scans.moving, "moving lesion"),
    )
    if fixed_labels is None or moving_labels is None:
        return scans
    return scans._replace(
        fixed_labels=_read_labels(fixed_labels, scans.fixed, "fixed labels"),
        moving_labels=_read_labels(moving_labels, scans.moving, "moving labels"),
    )


def _read_image(role: str, path: PathLike, mask: PathLike | None) -> Volume:
    volume = load_volume(path, name=f"{role} image")
    if mask is None:
        check_brain_extracted(volume, f"{role} image {path}")
        return volume
    name = f"{role} mask"
    inside = _read_labels(mask, volume, name).data != 0
    if not inside.any():
        raise InputError(f"{name} {mask}: is empty: give one that is not 0 in the brain")
    masked = Volume(np.where(inside, volume.data, np.float32(0)), volume.affine)
    if not masked.data.any():
        raise InputError(
            f"{name} {mask}: covers nothing, the image is 0 wherever the mask is not: give the "
            "mask of this image"
        )
    check_brain_extracted(masked, f"{role} image {path} within its mask")
    return masked


def _read_lesion(path: PathLike | None, image: Volume, name: str) -> Volume | None:
    if path is None:
        return None
    lesion = _read_labels(path, image, name)
    if not image.data[lesion.data == 0].any():
        raise InputError(
            f"{name} {path}: covers the whole brain, nothing is left to compare: give a map that "
            "is not 0 in the lesion alone"
        )
    return lesion


def _read_labels(path: PathLike, image: Volume, name: str) -> Volume:
    """A map on the image's grid; raises where it lies on another."""
    labels = load_labels(path, name=name)
    mend = f"resample the {name} onto the image's grid (nearest neighbour)"
    if labels.shape != image.shape:
        raise InputError(
            f"{name} {path}: shape {labels.shape}, but the image has {image.shape}: {mend}"
        )
    corners = np.array(list(itertools.product(*((0, n - 1) for n in image.shape))))
    difference = labels.affine - image.affine
    apart = np.abs(corners @ difference[:3, :3].T + difference[:3, 3]).max()
    if apart > _GRID_TOLERANCE * image.spacing.min():
        raise InputError(f"{name} {path}: up to {apart:.3g} mm off the image: {mend}")
    return Volume(labels.data, image.affine)
