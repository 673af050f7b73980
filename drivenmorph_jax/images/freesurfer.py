"""FreeSurfer's warps: NIfTI fields that carry the geometry of both images in their header.

Without that extension FreeSurfer's tools do not know the moving image.
"""

import os
import struct

import numpy as np
from jaxtyping import Float
from nibabel.nifti1 import Nifti1Extension, Nifti1Pair
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.displacement_files import (
    check_displacement,
    field_image,
    intent,
    open_field,
    save_field,
)
from drivenmorph_jax.images.resample import Grid

DISPLACEMENT_INTENT = 1006
_EXTENSION = 14
# FreeSurfer's own numbers: an image that is a warp; version 1; displacements in RAS.
_WARP = 3
_VERSION = 1
_DISPLACEMENT_RAS = 3
_GEOMETRY, _META, _GEOMETRY_AND_SHEAR, _END = 10, 13, 15, -1


def write_freesurfer_displacement(
    path: str | os.PathLike,
    displacement: Float[ndarray, "x y z 3"],
    affine: Float[ndarray, "4 4"],
    moving: Grid,
) -> None:
    """Write a warp as FreeSurfer's tools expect it.

    NIfTI (X, Y, Z, 1, 3), float32, intent 1006, vectors in RAS mm, and in a header extension
    (code 14) where the voxels of the moving (source) and fixed (target) image lie.

    Args:
        path: a .nii or .nii.gz file; it appears whole or not at all.
        displacement: (X, Y, Z, 3), RAS mm, pull-back, on the fixed image's voxels.
        affine: (4, 4), RAS+, of the fixed image.
        moving: the moving image's voxels.

    Raises:
        InputError: the affine is sheared, or the file cannot be written.
        ValueError: the displacement has another shape, or is not finite.
    """
    displacement = np.asarray(displacement)
    check_displacement(displacement)
    image = field_image(
        path,
        displacement[:, :, :, None, :],
        affine,
        code=DISPLACEMENT_INTENT,
        description="pull-back displacement, RAS mm",
    )
    x, y, z = displacement.shape[:3]
    content = _extension(moving, Grid((x, y, z), np.asarray(affine, dtype=np.float64)))
    image.header.extensions.append(Nifti1Extension(_EXTENSION, content))
    save_field(path, image)


def read_freesurfer_displacement(
    path: str | os.PathLike,
) -> tuple[Float[ndarray, "x y z 3"], Float[ndarray, "4 4"]]:
    """The field in RAS mm, float32, and the affine (4, 4) of its grid.

    Raises:
        InputError: the file cannot be read, or its vectors are not displacements in RAS mm.
    """
    title = f"FreeSurfer warp {path}"
    image, vectors = open_field(path)
    if vectors.ndim != 5 or vectors.shape[3:] != (1, 3) or intent(image) != DISPLACEMENT_INTENT:
        raise InputError(
            f"{title}: shape {vectors.shape}, intent {intent(image)}: a FreeSurfer field is "
            f"(X, Y, Z, 1, 3) with intent {DISPLACEMENT_INTENT}"
        )
    if _kind(image) not in (None, _DISPLACEMENT_RAS):
        raise InputError(
            f"{title}: holds no displacements in RAS mm: convert it to them (mri_warp_convert)"
        )
    return vectors[:, :, :, 0, :], np.asarray(image.affine, dtype=np.float64)


def direction_cosines(
    grid: Grid,
) -> tuple[Float[ndarray, "3"], Float[ndarray, "3 3"], Float[ndarray, "3"]]:
    """FreeSurfer's account of a grid: spacing, axes (columns), and the world point of shape/2."""
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    middle = grid.affine @ np.array([*(np.array(grid.shape) / 2), 1.0])
    return spacing, grid.affine[:3, :3] / spacing, middle[:3]


def _extension(moving: Grid, fixed: Grid) -> bytes:
    """The header extension: big-endian tags, each with its length."""
    plain = _geometry(moving, shear=False) + _geometry(fixed, shear=False)
    with_shear = _geometry(moving, shear=True) + _geometry(fixed, shear=True)
    meta = struct.pack(">iif", _DISPLACEMENT_RAS, 1, 0.0)
    tags = ((_GEOMETRY, plain), (_GEOMETRY_AND_SHEAR, with_shear), (_META, meta), (_END, b"*"))
    header = struct.pack(">cHB", b">", _WARP, _VERSION)
    return header + b"".join(struct.pack(">iq", tag, len(data)) + data for tag, data in tags)


def _geometry(grid: Grid, *, shear: bool) -> bytes:
    spacing, axes, middle = direction_cosines(grid)
    numbers = [*spacing, *axes.T.ravel(), *middle, *((0.0, 0.0, 0.0) if shear else ())]
    valid, length_of_name = 1, 0
    return struct.pack(
        f">4i{len(numbers)}fi", valid, *(int(n) for n in grid.shape), *numbers, length_of_name
    )


def _kind(image: Nifti1Pair) -> int | None:
    """What the vectors are, by FreeSurfer's own extension; None where there is none."""
    for extension in image.header.extensions:  # type: ignore[attr-defined]
        if extension.get_code() == _EXTENSION:
            return _find_kind(bytes(extension.get_content()))
    return None


def _find_kind(content: bytes) -> int | None:
    place = struct.calcsize(">cHB")
    while place + 12 <= len(content):
        tag, length = struct.unpack_from(">iq", content, place)
        place += 12
        if tag == _META and place + 4 <= len(content):
            return struct.unpack_from(">i", content, place)[0]
        if length < 0 or tag == _END:
            return None
        place += length
    return None
