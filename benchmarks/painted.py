"""People whose images are painted from whole-head label maps of 1 mm, like a T1."""

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from drivenmorph_jax.alignment import align
from drivenmorph_jax.data import NativeLabels, Subject
from drivenmorph_jax.data.label_maps import list_label_maps, read_label_map
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Volume, resample, working_grid
from drivenmorph_jax.images.brain_on_grid import brain_on_grid

_EXTENT = (144.0, 176.0, 144.0)
"""mm of the grid, around the brain of _REFERENCE, to which all are aligned."""
_REFERENCE = "training_seg_05"

# As in the T1 of the patient of contrasts_1mm: what is left of its white matter after a Gaussian
# of 2 voxels deviates by 0.033 of it, and correlates between neighbours by 0.64. White noise, of
# which that image, resampled once, has 0.01, comes on top.
_TEXTURE, _TEXTURE_SIGMA = 0.035, 0.75
_NOISE = 0.02
_BLUR = 0.5  # voxels: a scanner's own, beside the voxel.


def painted_subjects(folder: pathlib.Path, names: list[str], spacing: float) -> list[Subject]:
    """The label maps of these names as subjects on one grid, with their labels as drawn.

    Args:
      folder: of the label maps.
      names: of theirs.
      spacing: mm of the grid.

    Raises:
      InputError: the folder, or one of them, is not there.
    """
    files = {file.name: file.image_path for file in list_label_maps(str(folder))}
    for name in (_REFERENCE, *names):
        if name not in files:
            raise InputError(f"no {name} in {folder}: set DRIVENMORPH_DATA")
    reference, _ = read_label_map(files[_REFERENCE])
    x, y, z = (round(length / spacing) for length in _EXTENT)
    grid = working_grid(reference, spacing, shape=(x, y, z))
    return [_subject(name, files[name], reference, grid) for name in names]


def _subject(name: str, path: pathlib.Path, reference: Volume, grid: Grid) -> Subject:
    tissue, labels = read_label_map(path)
    image = Volume(paint(tissue.data, int(name.split("_")[-1])), tissue.affine)
    arrays: tuple[Any, ...] = (reference.data, image.data, reference.affine, image.affine)
    matrix = np.asarray(align(*arrays, kind="affine", similarity="ncc").matrix, np.float64)
    on_grid = brain_on_grid(image, grid, matrix=matrix)
    assert on_grid is not None, "it was aligned to the brain of the grid"
    pull = np.linalg.inv(labels.affine) @ matrix @ grid.affine
    on_its_voxels = resample(labels, *grid, matrix=matrix, order=0).data
    return Subject(name, on_grid, on_its_voxels, NativeLabels(labels.data, pull))


def paint(tissue: Float[ndarray, "x y z"], seed: int) -> Float[ndarray, "x y z"]:
    """An image of a brightness for each structure: blurred, with texture and noise; 0 outside."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=tissue.shape), _TEXTURE_SIGMA)
    image = ndimage.gaussian_filter(tissue, _BLUR) + _TEXTURE * texture / texture.std()
    image += _NOISE * rng.normal(size=tissue.shape)
    return np.where(tissue > 0, np.maximum(image, 0.01), 0).astype(np.float32)
