"""One patient at two times, T1 and FLAIR each: brains, brought onto common grids by affines."""

import pathlib
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import ndimage

from drivenmorph_jax.alignment import align
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Transform, Volume, canonical, load_volume, resample
from drivenmorph_jax.pipeline.working_space import choose_grid, to_working_space

CONTRASTS = ("t1w", "flair")
STUDIES = ("study1", "study2")
SPACING = 2.0
"""mm of the common grids; the slices are 3 to 4 mm thick."""

Brains = dict[str, Volume]
"""By contrast, each on its own grid, 0 outside the brain."""


class Pair(NamedTuple):
    """A study on the grid of the other.

    Attributes:
      fixed_study, moving_study: names.
      grid: along R, A, S around the fixed brain.
      matrix: (4, 4), fixed world to moving world, RAS mm.
      fixed, moving: by contrast, (D, H, W) on the grid, the moving ones along the affine.
    """

    fixed_study: str
    moving_study: str
    grid: Grid
    matrix: Float[ndarray, "4 4"]
    fixed: dict[str, Float[ndarray, "d h w"]]
    moving: dict[str, Float[ndarray, "d h w"]]

    def transform(self, displacement: Float[ndarray, "d h w 3"]) -> Transform:
        """The whole map of a displacement in voxels of the grid, in mm of both worlds."""
        steps = displacement @ self.grid.affine[:3, :3].T
        return Transform.from_field(steps, self.grid.affine).then(
            Transform.from_matrix(self.matrix)
        )


def load_brains(folder: pathlib.Path, study: str) -> Brains:
    """Both contrasts of a study, without the head around the brain.

    The two were scanned in one session, and are taken to lie where their headers say. The brain is
    found in the FLAIR, where fat and bone around it are dark.

    Raises:
      InputError: a file is not there.
    """
    heads = {}
    for contrast in CONTRASTS:
        found = sorted(folder.glob(f"*_{study}_{contrast}.nii.gz"))
        if not found:
            raise InputError(
                f"no *_{study}_{contrast}.nii.gz in {folder}: set DRIVENMORPH_DATA or --data"
            )
        heads[contrast] = canonical(load_volume(found[0]))
    brain = brain_mask(heads["flair"])
    return {contrast: _masked(head, brain) for contrast, head in heads.items()}


def brain_mask(flair: Volume) -> Volume:
    """The largest bright body of a head's FLAIR, closed: 1 in the brain."""
    spacing = np.asarray(flair.spacing)
    smooth = ndimage.gaussian_filter(np.asarray(flair.data, np.float32), 1.0 / spacing)
    bright = smooth > 0.4 * np.percentile(smooth[smooth > smooth.mean()], 80)
    core, count = cast(tuple[ndarray, int], ndimage.label(_grown(bright, spacing, -4.0)))
    if not count:
        raise InputError("no brain is found in the FLAIR")
    sizes = np.bincount(core.ravel())[1:]
    brain = _grown(core == 1 + sizes.argmax(), spacing, 6.0) & bright
    closed = _grown(_grown(brain, spacing, 6.0), spacing, -6.0)
    return Volume(closed.astype(np.float32), flair.affine)


def make_pair(brains: dict[str, Brains], fixed: str, moving: str) -> Pair:
    """A study on the grid of another, by an affine between their T1 images."""
    one, other = brains[fixed], brains[moving]
    first, second = one["t1w"], other["t1w"]
    found = align(first.data, second.data, first.affine, second.affine, kind="affine")
    matrix = np.asarray(found.matrix, np.float64)
    grid = choose_grid(first, spacing=(SPACING, SPACING, SPACING), least_shape=None)
    pairs = {c: to_working_space(one[c], other[c], matrix, grid) for c in CONTRASTS}
    return Pair(
        fixed,
        moving,
        grid,
        matrix,
        {c: pair.fixed for c, pair in pairs.items()},
        {c: pair.moving for c, pair in pairs.items()},
    )


def _masked(head: Volume, brain: Volume) -> Volume:
    inside = resample(brain, head.shape, head.affine).data > 0.5
    return Volume(np.where(inside, np.asarray(head.data, np.float32), 0), head.affine)


def _grown(
    body: Bool[ndarray, "x y z"], spacing: Float[ndarray, "3"], by: float
) -> Bool[ndarray, "x y z"]:
    """Larger by so many mm all around, or smaller where `by` is below 0."""
    outside = by >= 0
    distance = np.asarray(ndimage.distance_transform_edt(body != outside, sampling=spacing))
    return distance <= by if outside else distance > -by
