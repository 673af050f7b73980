"""Transforms read from and written to the files of ITK, FSL and FreeSurfer, by name or ending."""

import os
import pathlib
from typing import Literal

import nibabel as nib

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.freesurfer import (
    DISPLACEMENT_INTENT,
    read_freesurfer_displacement,
    write_freesurfer_displacement,
)
from drivenmorph_jax.images.fsl import (
    read_fsl_affine,
    read_fsl_displacement,
    write_fsl_affine,
    write_fsl_displacement,
)
from drivenmorph_jax.images.itk import read_itk_displacement, write_itk_displacement
from drivenmorph_jax.images.itk_composite import read_composite, write_composite
from drivenmorph_jax.images.itk_linear import read_itk_affine, write_itk_affine
from drivenmorph_jax.images.lta import read_lta, write_lta
from drivenmorph_jax.images.resample import Grid
from drivenmorph_jax.images.transform import Transform

Format = Literal["itk", "fsl", "freesurfer", "h5"]
FORMATS: tuple[Format, ...] = ("itk", "fsl", "freesurfer", "h5")
_NIFTI = (".nii", ".nii.gz")
_ENDINGS: dict[Format, tuple[str, ...]] = {
    "itk": (*_NIFTI, ".mat", ".tfm", ".txt"),
    "fsl": (*_NIFTI, ".mat"),
    "freesurfer": (*_NIFTI, ".lta"),
    "h5": (".h5",),
}


def read_transform(
    path: str | os.PathLike, *, fixed: Grid | None = None, moving: Grid | None = None
) -> Transform:
    """The transform in a file, whatever its format: its ending and its header tell.

    Args:
        path: .nii or .nii.gz (a field of ITK, FSL or FreeSurfer), .h5 (ITK composite), .mat (ITK
            or FSL), .tfm or .txt (ITK), .lta (FreeSurfer).
        fixed: voxels of the fixed image; FSL's affines need it.
        moving: voxels of the moving image; all of FSL's files need it.

    Raises:
        InputError: the file is missing, damaged or of no known kind, or FSL's images are not
            given.
    """
    path = pathlib.Path(path)
    ending = _ending(path)
    if not path.is_file():
        what = "is a folder: give a file" if path.is_dir() else "no such file: check the path"
        raise InputError(f"transform {path}: {what}")
    if ending in _NIFTI:
        return _read_field(path, moving)
    if ending == ".h5":
        return read_composite(path)
    if ending == ".lta":
        return Transform.from_matrix(read_lta(path))
    if ending == ".mat" and _is_text(path):
        if fixed is None or moving is None:
            raise InputError(f"FSL affine {path}: needs its images: add --fixed and --moving")
        return Transform.from_matrix(read_fsl_affine(path, fixed, moving))
    return Transform.from_matrix(read_itk_affine(path))


def write_transform(
    path: str | os.PathLike,
    transform: Transform,
    *,
    format: Format | None = None,
    fixed: Grid | None = None,
    moving: Grid | None = None,
) -> None:
    """Write a transform; one of affines alone as an affine where the ending is that of one.

    Args:
        path: its ending decides with the format: .nii, .nii.gz (all but h5), .mat (itk, fsl),
            .tfm, .txt (itk), .lta (freesurfer), .h5 (h5).
        transform: NIfTI holds it as one field; .h5 keeps the parts of a chain.
        format: by default that of the ending: itk for NIfTI and .mat.
        fixed: voxels of the fixed image, on which a field is written: by default those of the
            chain's first part, where that is a field.
        moving: voxels of the moving image; fsl and freesurfer need them.

    Raises:
        InputError: format and ending do not go together, a needed grid is missing, a field is to
            become an affine, an affine is singular, or the file cannot be written.
    """
    path = pathlib.Path(path)
    ending = _ending(path)
    chosen = format or _format_of(ending)
    if ending not in _ENDINGS[chosen]:
        raise InputError(
            f"{path}: format {chosen} ends in {', '.join(_ENDINGS[chosen])}: change the ending"
        )
    if ending in _NIFTI:
        _write_field(path, transform, chosen, fixed, moving)
    elif ending == ".h5":
        write_composite(path, transform)
    else:
        _write_affine(path, transform, chosen, fixed, moving)


def _read_field(path: pathlib.Path, moving: Grid | None) -> Transform:
    try:
        image = nib.load(path)
        dimensions, code = len(image.shape), int(image.header["intent_code"])  # type: ignore
    except Exception as error:
        raise InputError(
            f"transform {path}: is not a readable NIfTI file: write it again"
        ) from error
    if dimensions == 4:
        if moving is None:
            raise InputError(f"FSL warp {path}: needs the image that it moves: add --moving")
        return Transform.from_field(*read_fsl_displacement(path, moving))
    if code == DISPLACEMENT_INTENT:
        return Transform.from_field(*read_freesurfer_displacement(path))
    return Transform.from_field(*read_itk_displacement(path))


def _write_field(
    path: pathlib.Path,
    transform: Transform,
    format: Format,
    fixed: Grid | None,
    moving: Grid | None,
) -> None:
    grid = fixed or transform.grid
    if grid is None:
        raise InputError(
            f"{path}: a field needs voxels to lie on: give the fixed image (--fixed or --reference)"
        )
    if format != "itk" and moving is None:
        raise InputError(f"{path}: format {format} needs the moving image: add --moving")
    displacement = transform.displacement(grid)
    if format == "itk" or moving is None:
        write_itk_displacement(path, displacement, grid.affine)
    elif format == "fsl":
        write_fsl_displacement(path, displacement, grid.affine, moving)
    else:
        write_freesurfer_displacement(path, displacement, grid.affine, moving)


def _write_affine(
    path: pathlib.Path,
    transform: Transform,
    format: Format,
    fixed: Grid | None,
    moving: Grid | None,
) -> None:
    matrix = transform.matrix
    if matrix is None:
        raise InputError(f"{path}: a deformation is no affine: give it the ending .nii.gz or .h5")
    if format == "itk":
        write_itk_affine(path, matrix)
        return
    if fixed is None or moving is None:
        raise InputError(f"{path}: {format} needs both images: add --fixed and --moving")
    (write_fsl_affine if format == "fsl" else write_lta)(path, matrix, fixed, moving)


def _ending(path: pathlib.Path) -> str:
    name = path.name.lower()
    for ending in sorted({ending for endings in _ENDINGS.values() for ending in endings}):
        if name.endswith(ending):
            return ending
    known = ".nii, .nii.gz, .h5, .mat, .tfm, .txt, .lta"
    raise InputError(f"{path}: is not a known kind of transform: give one of {known}")


def _format_of(ending: str) -> Format:
    return {".h5": "h5", ".lta": "freesurfer"}.get(ending, "itk")  # type: ignore[return-value]


def _is_text(path: pathlib.Path) -> bool:
    """FSL's .mat is text, ITK's is MATLAB's."""
    with path.open("rb") as file:
        return b"\0" not in file.read(512)
