"""Transforms in files that ITK, SimpleITK, ANTs, Slicer and greedy read.

ITK counts millimetres in LPS (x and y against RAS+), yet a NIfTI header stays RAS in its hands:
the vectors turn, the affine of the header does not.
"""

import os
import pathlib

import nibabel as nib
import numpy as np
from scipy import io

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.geometry import check_affine
from drivenmorph_jax.images.volume import nifti_image
from drivenmorph_jax.images.writing import write_atomically

_LPS = np.array([-1.0, -1.0, 1.0])
_VECTOR_INTENT = 1007
_AFFINE_NAMES = (
    "AffineTransform_double_3_3",
    "AffineTransform_float_3_3",
    "MatrixOffsetTransformBase_double_3_3",
    "MatrixOffsetTransformBase_float_3_3",
)


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
    path = pathlib.Path(path)
    displacement = np.asarray(displacement)
    if displacement.ndim != 4 or displacement.shape[-1] != 3:
        raise ValueError(f"displacement must be (X, Y, Z, 3), not {displacement.shape}")
    if not np.isfinite(displacement).all():
        raise ValueError("displacement holds NaN or infinite vectors")
    check_affine(np.asarray(affine), f"displacement field {path}")
    vectors = (displacement * _LPS).astype(np.float32)[:, :, :, None, :]
    image = nifti_image(vectors, affine)
    image.header.set_intent(_VECTOR_INTENT, name="displacement")
    image.header["descrip"] = b"pull-back displacement, LPS mm"
    assert image.shape == (*displacement.shape[:3], 1, 3)
    assert int(image.header["intent_code"]) == _VECTOR_INTENT
    write_atomically(path, lambda temporary: nib.save(image, temporary))


def read_itk_displacement(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """The field (X, Y, Z, 3) in RAS mm, float32, and the affine (4, 4) of its grid.

    Raises:
        InputError: the file cannot be read, or is not an ITK displacement field.
    """
    title = f"displacement field {path}"
    if not pathlib.Path(path).exists():
        raise InputError(f"{title}: no such file: check the path")
    try:
        image = nib.load(path)
        vectors = np.asarray(image.dataobj, dtype=np.float32)  # type: ignore[attr-defined]
        intent = int(image.header["intent_code"])  # type: ignore[index]
    except Exception as error:
        raise InputError(f"{title}: is not a readable NIfTI file: write it again") from error
    if vectors.ndim != 5 or vectors.shape[3:] != (1, 3) or intent != _VECTOR_INTENT:
        raise InputError(
            f"{title}: shape {vectors.shape}, intent {intent}: an ITK field is "
            f"(X, Y, Z, 1, 3) with intent {_VECTOR_INTENT}"
        )
    affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
    return vectors[:, :, :, 0, :] * _LPS.astype(np.float32), affine


def write_itk_affine(
    path: str | os.PathLike, matrix: np.ndarray, *, centre: np.ndarray | None = None
) -> None:
    """Write `0GenericAffine.mat`: MATLAB v4, as ANTs and SimpleITK read it.

    Args:
        path: a .mat file; it appears whole or not at all.
        matrix: (4, 4), fixed world to moving world, RAS mm.
        centre: (3,) RAS mm, the point about which ITK expresses the matrix; the map is the same
            for any, the origin by default.
    """
    linear, offset = _turn(np.asarray(matrix, dtype=np.float64))
    middle = np.zeros(3) if centre is None else np.asarray(centre) * _LPS
    translation = offset - middle + linear @ middle
    content = {
        _AFFINE_NAMES[0]: np.concatenate([linear.ravel(), translation])[:, None],
        "fixed": middle[:, None],
    }
    write_atomically(path, lambda temporary: io.savemat(temporary, content, format="4"))


def read_itk_affine(path: str | os.PathLike) -> np.ndarray:
    """The (4, 4) matrix, fixed world to moving world in RAS mm, of an ITK affine `.mat` file."""
    title = f"affine {path}"
    if not pathlib.Path(path).exists():
        raise InputError(f"{title}: no such file: check the path")
    try:
        content = io.loadmat(path)
    except Exception as error:
        raise InputError(f"{title}: is not a readable .mat file: write it again") from error
    known = [name for name in _AFFINE_NAMES if name in content]
    if not known or "fixed" not in content or content[known[0]].size != 12:
        found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise InputError(f"{title}: holds {found}, not an affine: give ANTs' 0GenericAffine.mat")
    values = content[known[0]].astype(np.float64).ravel()
    middle = content["fixed"].astype(np.float64).ravel()
    linear, translation = values[:9].reshape(3, 3), values[9:]
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = translation + middle - linear @ middle
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = _turn(matrix)
    return turned


def _turn(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear part and offset in the other of RAS and LPS."""
    return matrix[:3, :3] * _LPS[:, None] * _LPS, matrix[:3, 3] * _LPS
