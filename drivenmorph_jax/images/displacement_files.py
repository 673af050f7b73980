"""What displacement fields in NIfTI files have in common: reading, and refusing, any of them."""

import os
import pathlib

import nibabel as nib
import numpy as np
from jaxtyping import Float
from nibabel.nifti1 import Nifti1Pair
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.compression import write_nifti
from drivenmorph_jax.images.geometry import check_affine
from drivenmorph_jax.images.volume import nifti_image
from drivenmorph_jax.writing import write_atomically


def open_field(path: str | os.PathLike) -> tuple[Nifti1Pair, Float[ndarray, "..."]]:
    """The image and its vectors, float32, in whatever shape and units.

    Raises:
        InputError: the file cannot be read, holds a vector that is not finite, or has no usable
            affine.
    """
    title = f"displacement field {path}"
    if not pathlib.Path(path).is_file():
        raise InputError(f"{title}: no such file: check the path")
    try:
        image = nib.load(path)
        vectors = np.asarray(image.dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    except Exception as error:
        raise InputError(f"{title}: is not a readable NIfTI file: write it again") from error
    if not isinstance(image, Nifti1Pair):
        raise InputError(f"{title}: is not a readable NIfTI file: write it again")
    if not np.isfinite(vectors).all():
        raise InputError(f"{title}: holds NaN or infinite vectors: write it again")
    check_affine(np.asarray(image.affine, dtype=np.float64), title)
    return image, vectors


def intent(image: Nifti1Pair) -> int:
    """NIfTI's code of what the vectors are."""
    return int(image.header["intent_code"])  # type: ignore[index]


def field_image(
    path: str | os.PathLike,
    vectors: Float[ndarray, "..."],
    affine: Float[ndarray, "4 4"],
    *,
    code: int,
    description: str,
    name: str = "displacement",
) -> nib.Nifti1Image:
    """A float32 NIfTI image of vectors, its header saying what they are.

    Raises:
        InputError: the affine is sheared, which no other tool would read as we do.
        ValueError: a vector is not finite.
    """
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name} holds NaN or infinite vectors")
    check_affine(np.asarray(affine), f"{name} field {path}")
    image = nifti_image(vectors.astype(np.float32, copy=False), affine)
    image.header.set_intent(code, name=name)
    image.header["descrip"] = description.encode("ascii")
    assert image.shape == vectors.shape and intent(image) == code
    return image


def check_displacement(displacement: ndarray) -> None:
    """Raise ValueError unless it is (X, Y, Z, 3)."""
    if displacement.ndim != 4 or displacement.shape[-1] != 3:
        raise ValueError(f"displacement must be (X, Y, Z, 3), not {displacement.shape}")


def save_field(path: str | os.PathLike, image: nib.Nifti1Image) -> None:
    """Write it whole or not at all.

    Raises:
        InputError: it cannot be written, or the ending is not NIfTI's.
    """
    path = pathlib.Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: fields are written as .nii or .nii.gz: change the ending")
    write_atomically(path, lambda temporary: write_nifti(image, temporary))
