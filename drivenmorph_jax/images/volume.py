"""A 3-D image with its geometry, read from and written to NIfTI and MGH files.

Whatever can be wrong with a file is found here, so that the code behind it may trust a `Volume`:
three axes, finite voxels, an invertible affine without shear.
"""

import logging
import os
import pathlib
import zlib
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHImage
from nibabel.nifti1 import Nifti1Image, Nifti1Pair
from nibabel.spatialimages import HeaderDataError, SpatialImage

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.geometry import apply_affine, check_affine
from drivenmorph_jax.images.writing import write_atomically

_log = logging.getLogger(__name__)

ENDINGS = (".nii", ".nii.gz", ".mgh", ".mgz")
# Fewer slices than this along an axis hold no displacement worth the name.
SHORTEST_AXIS = 4
# 1290 cubed; a header that promises more is damaged, and would exhaust the memory.
MOST_VOXELS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar image on a regular grid in space.

    Attributes:
        data: (X, Y, Z), float32 for images, int32 for label maps.
        affine: (4, 4) float64, voxel indices to world millimetres, RAS+.
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per axis."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def spacing(self) -> np.ndarray:
        """(3,) distance in mm between neighbouring voxels along each axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def load_volume(path: str | os.PathLike, *, name: str = "image") -> Volume:
    """Read an image as float32.

    Args:
        path: a .nii, .nii.gz, .mgh or .mgz file; trailing axes of length one are dropped.
        name: what the file is to the user ("fixed image"), for error messages.

    Raises:
        InputError: the file cannot be read, or is not one 3-D image with finite voxels, some
            contrast and a usable affine.
    """
    image, title = _open(path, name)
    affine = _affine(image, title)
    data = _read(image, title, np.float32)
    if not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        raise InputError(f"{title}: {count} voxels are NaN or infinite: set them to 0")
    if data.min() == data.max():
        raise InputError(
            f"{title}: every voxel is {data.flat[0]:g}: give an image that shows something"
        )
    return Volume(data, affine)


def load_labels(path: str | os.PathLike, *, name: str = "label map") -> Volume:
    """Read a label map as int32; like `load_volume`, and voxels must be whole numbers.

    A map with a single label, or none, is allowed.
    """
    image, title = _open(path, name)
    affine = _affine(image, title)
    data = _read(image, title, np.float64)
    if not np.isfinite(data).all():
        raise InputError(f"{title}: labels are NaN or infinite: set them to 0")
    whole = np.rint(data)
    if np.abs(data - whole).max() > 1e-3:
        raise InputError(f"{title}: voxels are not whole numbers: give a label map, not an image")
    if np.abs(whole).max() >= 2**31:
        raise InputError(f"{title}: a label exceeds 2147483647: renumber the labels")
    return Volume(whole.astype(np.int32), affine)


def load_geometry(
    path: str | os.PathLike, *, name: str = "image"
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Voxels per axis and affine (4, 4) of an image, by its header alone.

    Axes beyond the third are left out.

    Raises:
        InputError: the file cannot be read, has fewer than three axes, or no usable affine.
    """
    image, title = _open(path, name)
    affine = _affine(image, title)
    shape = tuple(int(size) for size in image.shape[:3])
    if len(shape) < 3 or min(shape) < 1:
        raise InputError(f"{title}: has shape {shape}, not three axes: give a 3-D image")
    return (shape[0], shape[1], shape[2]), affine


def save_volume(path: str | os.PathLike, volume: Volume, *, description: str = "") -> None:
    """Write .nii or .nii.gz under a temporary name in the same folder, then rename.

    Integers keep their type (64-bit ones become int32), bool becomes uint8, floats become
    float32. `description` goes to the header (up to 79 characters).

    Raises:
        InputError: the ending is not a NIfTI one, or the file cannot be written.
    """
    path = pathlib.Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: images are written as .nii or .nii.gz: change the ending")
    image = nifti_image(volume.data.astype(_file_dtype(volume.data)), volume.affine)
    image.header["descrip"] = description[:79].encode("ascii", "replace")
    write_atomically(path, lambda temporary: nib.save(image, temporary))


def nifti_image(data: np.ndarray, affine: np.ndarray) -> Nifti1Image:
    """A NIfTI-1 image whose sform and qform agree, in mm, so that every reader sees one frame."""
    image = Nifti1Image(data, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units(xyz="mm")
    return image


def _file_dtype(data: np.ndarray) -> np.dtype:
    if data.dtype == bool:
        return np.dtype(np.uint8)
    if data.dtype.kind == "f":
        return np.dtype(np.float32)
    if data.dtype.itemsize == 8:
        return np.dtype(np.int32)
    return data.dtype


def _open(path: str | os.PathLike, name: str) -> tuple[SpatialImage, str]:
    """The image with its header checked, voxels not yet read; and its name in messages."""
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
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{title}: {_damage(error)}") from error
    if not isinstance(image, Nifti1Pair | MGHImage):
        raise InputError(f"{title}: is not a NIfTI or MGH image: convert it")
    return image, title


def _read(image: SpatialImage, title: str, dtype: type) -> np.ndarray:
    """The voxels of a 3-D scalar image as `dtype`."""
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
    if np.prod(shape, dtype=np.int64) > MOST_VOXELS:
        raise InputError(f"{title}: shape {shape} is beyond any scan: the header is damaged")
    stored = image.get_data_dtype()
    if stored.kind not in "iufb":
        raise InputError(f"{title}: voxels are {stored}, not numbers: convert to a scalar image")
    try:
        return np.asarray(image.dataobj, dtype=dtype).reshape(shape)
    except MemoryError as error:
        raise InputError(f"{title}: shape {shape} does not fit into memory: crop it") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{title}: {_damage(error)}") from error


def _affine(image: SpatialImage, title: str) -> np.ndarray:
    if isinstance(image, Nifti1Pair) and not (
        image.get_sform(coded=True)[1] or image.get_qform(coded=True)[1]
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
    qform, qform_code = image.get_qform(coded=True)
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
