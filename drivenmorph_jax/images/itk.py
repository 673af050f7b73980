"""Displacement fields in files that ITK, SimpleITK, ANTs, Slicer and greedy read.

ITK counts millimetres in LPS (x and y against RAS+), yet a NIfTI header stays RAS in its hands:
the vectors turn, the affine of the header does not.
"""

import os

import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.displacement_files import (
    check_displacement,
    field_image,
    intent,
    open_field,
    save_field,
)
from drivenmorph_jax.images.geometry import LPS, to_lps

VECTOR_INTENT = 1007


def write_itk_displacement(
    path: str | os.PathLike, displacement: np.ndarray, affine: np.ndarray
) -> None:
    """Write a displacement field as ITK's tools expect it.

    NIfTI (X, Y, Z, 1, 3), float32, intent 1007, vectors in LPS mm, the fixed image's affine in the
    header. Any other shape or intent is misread without a word by some of them.

    Args:
        path: a .nii or .nii.gz file; it appears whole or not at all.
        displacement: (X, Y, Z, 3), RAS mm, pull-back, on the fixed image's voxels.
        affine: (4, 4), RAS+, of the fixed image.

    Raises:
        InputError: the affine is sheared (ITK refuses it), or the file cannot be written.
        ValueError: the displacement has another shape, or is not finite.
    """
    displacement = np.asarray(displacement)
    check_displacement(displacement)
    vectors = to_lps(displacement)[:, :, :, None, :]
    image = field_image(
        path, vectors, affine, code=VECTOR_INTENT, description="pull-back displacement, LPS mm"
    )
    save_field(path, image)


def read_itk_displacement(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """The field (X, Y, Z, 3) in RAS mm, float32, and the affine (4, 4) of its grid.

    Raises:
        InputError: the file cannot be read, or is not an ITK displacement field.
    """
    image, vectors = open_field(path)
    if vectors.ndim != 5 or vectors.shape[3:] != (1, 3) or intent(image) != VECTOR_INTENT:
        raise InputError(
            f"displacement field {path}: shape {vectors.shape}, intent {intent(image)}: an ITK "
            f"field is (X, Y, Z, 1, 3) with intent {VECTOR_INTENT}"
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    return vectors[:, :, :, 0, :] * LPS.astype(np.float32), affine
