"""The header and voxels of an image file, or one line that says why they cannot be used."""

import logging
import math
import os
import pathlib
import zlib

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHImage
from nibabel.nifti1 import Nifti1Pair
from nibabel.spatialimages import HeaderDataError, SpatialImage

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.geometry import apply_affine, check_affine

_log = logging.getLogger(__name__)

ENDINGS = (".nii", ".nii.gz", ".mgh", ".mgz")
# Fewer slices than this along an axis hold no displacement worth the name.
SHORTEST_AXIS = 4
# 1290 cubed; a header that promises more is damaged, and would exhaust the memory.
MOST_VOXELS = 2**31 - 1
# Deflate makes nothing smaller than by this.
_MOST_COMPRESSION = 1032
# What nibabel lets through of a damaged header is whatever its arithmetic happens to raise.
_UNREADABLE = (
    *(ImageFileError, HeaderDataError, OSError, EOFError, zlib.error),
    *(ValueError, TypeError, LookupError, ArithmeticError),
)


def open_image(path: str | os.PathLike, name: str) -> tuple[SpatialImage, str]:
    """The image with its header checked, voxels not yet read; and its name in messages.

    Raises:
        InputError: there is no such file, or it is no NIfTI or MGH image.
    """
    path = pathlib.Path(path)
    title = f"{name} {path}"
    if not path.exists():
        raise InputError(f"{title}: no such file: check the path")
    if path.is_dir():
        raise InputError(f"{title}: is a folder: give a file ending in {', '.join(ENDINGS)}")
    if not path.name.lower().endswith(ENDINGS):
        raise InputError(f"{title}: is not a known image file: give one of {', '.join(ENDINGS)}")
    if not os.access(path, os.R_OK):
        raise InputError(f"{title}: may not be read: change its permissions")
    try:
        # A damaged header's affine is calculated before it can be looked at.
        with np.errstate(all="ignore"):
            image = nib.load(path)
    except _UNREADABLE as error:
        raise InputError(f"{title}: {_damage(error)}") from error
    if not isinstance(image, Nifti1Pair | MGHImage):
        raise InputError(f"{title}: is not a NIfTI or MGH image: convert it")
    return image, title


def read_voxels(image: SpatialImage, title: str, dtype: type) -> np.ndarray:
    """The voxels of a 3-D scalar image as `dtype`; they may be NaN or infinite.

    Raises:
        InputError: it is not 3-D, an axis is too short, voxels are no numbers, or are not there.
    """
    shape = tuple(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if min(shape, default=0) < 1:
        raise InputError(f"{title}: has an empty axis (shape {shape}): give a 3-D image")
    if len(shape) != 3:
        mend = "extract one volume" if len(shape) > 3 else "give the whole stack of slices"
        raise InputError(f"{title}: is {len(shape)}-D (shape {shape}), not 3-D: {mend}")
    if min(shape) < SHORTEST_AXIS:
        raise InputError(
            f"{title}: has an axis of {min(shape)} voxels (shape {shape}): "
            f"at least {SHORTEST_AXIS} are needed, give the whole volume"
        )
    voxels = math.prod(shape)
    if voxels > MOST_VOXELS:
        raise InputError(f"{title}: shape {shape} is beyond any scan: the header is damaged")
    stored = image.get_data_dtype()
    if stored.kind not in "iufb":
        raise InputError(f"{title}: voxels are {stored}, not numbers: convert to a scalar image")
    _check_size(image, title, voxels * stored.itemsize)
    try:
        # What does not fit into the type becomes infinite, of which the caller speaks.
        with np.errstate(all="ignore"):
            return np.asarray(image.dataobj, dtype=dtype).reshape(shape)
    except MemoryError as error:
        raise InputError(f"{title}: shape {shape} does not fit into memory: crop it") from error
    except _UNREADABLE as error:
        raise InputError(f"{title}: {_damage(error)}") from error


def _check_size(image: SpatialImage, title: str, promised: int) -> None:
    """Before memory is set aside for voxels that the file cannot hold."""
    path = pathlib.Path(image.get_filename() or "")
    most = path.stat().st_size
    if path.suffix.lower() in (".gz", ".mgz"):
        most *= _MOST_COMPRESSION
    if promised > most:
        raise InputError(
            f"{title}: is truncated or damaged: its header promises {promised} bytes, more than "
            "there are: copy or download it again"
        )


def image_affine(image: SpatialImage, title: str) -> np.ndarray:
    """Voxels to RAS mm, (4, 4) float64.

    Raises:
        InputError: there is none, or it cannot be used.
    """
    if isinstance(image, Nifti1Pair) and not (
        int(image.header["sform_code"]) or int(image.header["qform_code"])  # type: ignore[index]
    ):
        raise InputError(
            f"{title}: has no orientation (sform and qform codes are 0): "
            "copy the geometry from the scan it came from"
        )
    if image.affine is None:
        raise InputError(f"{title}: has no affine: copy the geometry from the scan it came from")
    affine = np.asarray(image.affine, dtype=np.float64)
    check_affine(affine, title)
    if isinstance(image, Nifti1Pair):
        _warn_of_two_frames(image, title)
    return affine


def _warn_of_two_frames(image: Nifti1Pair, title: str) -> None:
    """Say so where ITK will place the image by its qform, and we by another sform.

    Measured on ITK 5.4: a sform of code 1 wins; any other yields to a qform, if there is one.
    """
    sform, sform_code = image.get_sform(coded=True)
    try:
        with np.errstate(all="ignore"):
            qform, qform_code = image.get_qform(coded=True)
    except (HeaderDataError, ValueError) as error:
        raise InputError(
            f"{title}: its qform is damaged ({' '.join(str(error).split())}): copy the geometry "
            "from the scan it came from"
        ) from error
    if sform is None or qform is None or sform_code in (0, 1) or not qform_code:
        return
    corners = np.array([[0, 0, 0], np.array(image.shape[:3]) - 1])
    apart = np.abs(apply_affine(sform, corners) - apply_affine(qform, corners)).max()
    if apart > 0.1:
        _log.warning(
            "%s: its sform (used here) and qform (which ITK and ANTs use) are %.3g mm apart: "
            "make them equal before applying the warp there",
            title,
            apart,
        )


def _damage(error: Exception) -> str:
    """Why a file is unreadable, on one line."""
    if isinstance(error, EOFError | zlib.error):
        return "is truncated or damaged (gzip): copy or download it again"
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return f"is not a readable image ({reason}): copy or convert it again"
