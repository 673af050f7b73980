"""A 3-D image with its geometry, read from and written to NIfTI and MGH files.

Whatever can be wrong with a file is found on reading it, so that the code behind may trust a
`Volume`: three axes, finite voxels, an invertible affine without shear.
"""

import os
import pathlib
from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Image

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.compression import write_nifti
from drivenmorph_jax.images.reading import image_affine, open_image, read_voxels
from drivenmorph_jax.writing import write_atomically


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
    image, title = open_image(path, name)
    affine = image_affine(image, title)
    data = read_voxels(image, title, np.float32)
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
    image, title = open_image(path, name)
    affine = image_affine(image, title)
    data = read_voxels(image, title, np.float64)
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
    image, title = open_image(path, name)
    affine = image_affine(image, title)
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
    image = nifti_image(volume.data.astype(_file_dtype(volume.data), copy=False), volume.affine)
    image.header["descrip"] = description[:79].encode("ascii", "replace")
    write_atomically(path, lambda temporary: write_nifti(image, temporary))


def nifti_name(path: str | os.PathLike) -> str:
    """The name of what is made of a file: its own, an MGH image's with the ending .nii.gz."""
    path = pathlib.Path(path)
    return f"{path.stem}.nii.gz" if path.suffix.lower() in (".mgz", ".mgh") else path.name


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
