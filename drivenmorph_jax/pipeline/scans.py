"""A pair of scans with their label maps, read and checked."""

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
    """What the user gave; label maps on the grid of their image, both or neither."""

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None


def read_scans(
    fixed: PathLike,
    moving: PathLike,
    *,
    fixed_labels: PathLike | None = None,
    moving_labels: PathLike | None = None,
) -> Scans:
    """Read the files.

    Raises:
        InputError: one that cannot be used, an image that is not brain-extracted, or label maps
            that are not both there, or lie on another grid than their image.
    """
    if (fixed_labels is None) != (moving_labels is None):
        raise InputError("labels of one image only: give --fixed-labels and --moving-labels")
    scans = Scans(_read_image(fixed, "fixed image"), _read_image(moving, "moving image"))
    if fixed_labels is None or moving_labels is None:
        return scans
    return scans._replace(
        fixed_labels=_read_labels(fixed_labels, scans.fixed, "fixed labels"),
        moving_labels=_read_labels(moving_labels, scans.moving, "moving labels"),
    )


def _read_image(path: PathLike, name: str) -> Volume:
    volume = load_volume(path, name=name)
    check_brain_extracted(volume, f"{name} {path}")
    return volume


def _read_labels(path: PathLike, image: Volume, name: str) -> Volume:
    labels = load_labels(path, name=name)
    if labels.shape != image.shape:
        raise InputError(
            f"{name} {path}: shape {labels.shape}, but their image has {image.shape}: resample "
            "them onto its grid (nearest neighbour)"
        )
    corners = np.array(list(itertools.product(*((0, n - 1) for n in image.shape))))
    difference = labels.affine - image.affine
    apart = np.abs(corners @ difference[:3, :3].T + difference[:3, 3]).max()
    if apart > _GRID_TOLERANCE * image.spacing.min():
        raise InputError(
            f"{name} {path}: lie up to {apart:.3g} mm off their image: resample them onto its "
            "grid (nearest neighbour)"
        )
    return Volume(labels.data, image.affine)
