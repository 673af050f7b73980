"""Label maps without an image, as subjects to synthesise images of."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from drivenmorph_jax.data.anatomy import BLOBS, CORTEX, FLUID, WHITE
from drivenmorph_jax.data.listing import SubjectFile, require_subjects, strip_image_suffix
from drivenmorph_jax.data.synthesis import FLUID as FLUID_LABEL
from drivenmorph_jax.data.synthesis import LARGEST_LABEL
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, canonical, load_labels
from drivenmorph_jax.paths import user_path

_MARGIN_MM = 10.0
_FLUID_MM = 3.0


def list_label_maps(folder: str) -> tuple[SubjectFile, ...]:
    """Every NIfTI or MGH file of a folder, named after itself.

    Raises:
      InputError: no such folder, or nothing in it.
    """
    place = user_path(folder)
    if not place.is_dir():
        raise InputError(f"no folder {place}: set data.label_maps to a folder of label maps")
    paths = [p for p in place.iterdir() if p.name.endswith((".nii", ".nii.gz", ".mgz", ".mgh"))]
    files = [SubjectFile(strip_image_suffix(path), path, path) for path in paths]
    return require_subjects(files, place, "label maps (.nii.gz, .mgz)")


def read_label_map(path: Path) -> tuple[Volume, Volume]:
    """A stand-in for the image, to align by, and the labels of the brain, cropped to it.

    Labels above 255 lie outside the brain in SynthSeg's numbering, and become 0. The stand-in has
    the intensities of a T1 image, and the fluid near the brain alone.

    Raises:
      InputError: the file cannot be read, or shows no brain.
    """
    labels = canonical(load_labels(path, name="label map"))
    data = np.where(labels.data > LARGEST_LABEL, 0, labels.data).astype(np.int32)
    tissue = (data > 0) & (data != FLUID_LABEL)
    if not tissue.any():
        raise InputError(f"label map {path}: has no label of FreeSurfer's brain structures")
    margin = np.ceil(_MARGIN_MM / labels.spacing).astype(int)
    occupied = np.argwhere(tissue)
    low = np.maximum(occupied.min(0) - margin, 0)
    high = np.minimum(occupied.max(0) + 1 + margin, data.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = labels.affine.copy()
    affine[:3, 3] = (labels.affine @ np.array([*low, 1]))[:3]
    data = data[box]
    return Volume(_stand_in(data, labels.spacing), affine), Volume(data, affine)


def _stand_in(labels: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    lookup = np.full(LARGEST_LABEL + 1, CORTEX, np.float32)
    lookup[[0, FLUID_LABEL]] = 0, FLUID
    lookup[[2, 41]] = WHITE
    for blob in BLOBS:
        lookup[[blob.left, blob.right]] = blob.mean
    image = lookup[labels]
    fluid = labels == FLUID_LABEL
    distance = np.asarray(ndimage.distance_transform_edt(fluid | (labels == 0), sampling=spacing))
    image[fluid & (distance > _FLUID_MM)] = 0
    return image
