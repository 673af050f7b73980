"""FSL's warps and affines.

FSL's coordinates belong to an image: millimetres along its voxel axes from its first voxel, the
first axis reversed where the image is stored neurologically (determinant of its affine above 0).
So both images must be at hand, to write and to read. A file does not say which they were.
"""

import os
import pathlib
import warnings

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.displacement_files import (
    check_displacement,
    field_image,
    intent,
    open_field,
    save_field,
)
from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.images.itk_linear import check_matrix
from drivenmorph_jax.images.resample import Grid
from drivenmorph_jax.images.world import slabs
from drivenmorph_jax.writing import write_atomically

FNIRT_INTENT = 2006
_COEFFICIENTS = (2007, 2008, 2009)
# Brains differ by less.
_VOLUME_RATIOS = (0.25, 4.0)


def fsl_coordinates(grid: Grid) -> Float[ndarray, "4 4"]:
    """RAS mm of an image to FSL's coordinates of it."""
    zooms = np.linalg.norm(grid.affine[:3, :3], axis=0)
    scaled = np.diag([*zooms, 1.0])
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        scaled[0, 0] = -zooms[0]
        scaled[0, 3] = (grid.shape[0] - 1) * zooms[0]
    return scaled @ np.linalg.inv(grid.affine)


def write_fsl_displacement(
    path: str | os.PathLike,
    displacement: Float[ndarray, "x y z 3"],
    affine: Float[ndarray, "4 4"],
    moving: Grid,
) -> None:
    """Write a warp as FNIRT does, for `applywarp --rel`.

    NIfTI (X, Y, Z, 3), float32, intent 2006: F_moving(y) − F_fixed(x) in mm. `applywarp` guesses
    whether a warp is relative, wrongly where the two images' voxel axes differ: pass `--rel`.

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
    x, y, z = displacement.shape[:3]
    to_fixed, to_moving = fsl_coordinates(Grid((x, y, z), affine)), fsl_coordinates(moving)
    vectors = np.empty(displacement.shape, dtype=np.float32)
    for planes, points in slabs((x, y, z), affine):
        there = apply_affine(to_moving, points + displacement[planes])
        vectors[planes] = there - apply_affine(to_fixed, points)
    description = "FSL relative warp, mm"
    save_field(path, field_image(path, vectors, affine, code=FNIRT_INTENT, description=description))


def read_fsl_displacement(
    path: str | os.PathLike, moving: Grid
) -> tuple[Float[ndarray, "x y z 3"], Float[ndarray, "4 4"]]:
    """The relative warp of an FSL file as displacement, RAS mm, and the affine of its grid.

    Args:
        path: a field, as of `fnirt --fout`.
        moving: voxels of the image that it was made for (`fnirt --in`).

    Raises:
        InputError: the file cannot be read, is no field, or holds absolute coordinates.
    """
    title = f"FSL warp {path}"
    image, vectors = open_field(path)
    if intent(image) in _COEFFICIENTS:
        raise InputError(f"{title}: holds spline coefficients: give the field of fnirt --fout")
    if vectors.ndim != 4 or vectors.shape[3] != 3 or intent(image) != FNIRT_INTENT:
        raise InputError(
            f"{title}: shape {vectors.shape}, intent {intent(image)}: a FSL field is (X, Y, Z, 3) "
            f"with intent {FNIRT_INTENT}"
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    x, y, z = vectors.shape[:3]
    to_fixed = fsl_coordinates(Grid((x, y, z), affine))
    from_moving = np.linalg.inv(fsl_coordinates(moving))
    _refuse_absolute(vectors, affine, to_fixed, from_moving, title)
    displacement = np.empty(vectors.shape, dtype=np.float32)
    for planes, points in slabs((x, y, z), affine):
        there = apply_affine(from_moving, apply_affine(to_fixed, points) + vectors[planes])
        displacement[planes] = there - points
    return displacement, affine


def write_fsl_affine(
    path: str | os.PathLike, matrix: Float[ndarray, "4 4"], fixed: Grid, moving: Grid
) -> None:
    """Write a matrix as FLIRT does (`flirt -in moving -ref fixed -applyxfm -init`).

    Args:
        path: a text file, by custom .mat; it appears whole or not at all.
        matrix: (4, 4), fixed world to moving world, RAS mm.
        fixed, moving: both images' voxels.

    Raises:
        InputError: the file cannot be written.
        LinAlgError: the matrix is singular.
    """
    forward = fsl_coordinates(fixed) @ np.linalg.inv(matrix)
    flirt = forward @ np.linalg.inv(fsl_coordinates(moving))
    text = "\n".join("  ".join(f"{value:.12g}" for value in row) for row in flirt) + "\n"
    write_atomically(path, lambda temporary: pathlib.Path(temporary).write_text(text))


def read_fsl_affine(path: str | os.PathLike, fixed: Grid, moving: Grid) -> Float[ndarray, "4 4"]:
    """The (4, 4) matrix, fixed world to moving world in RAS mm, of a FLIRT matrix.

    Args:
        path: four rows of four numbers.
        fixed: voxels of the reference (`flirt -ref`).
        moving: voxels of the input (`flirt -in`).

    Raises:
        InputError: the file cannot be read, or is no such matrix.
    """
    title = f"FSL affine {path}"
    if not pathlib.Path(path).is_file():
        raise InputError(f"{title}: no such file: check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of an empty file, which is refused here.
            flirt = np.loadtxt(path, ndmin=2).reshape(4, 4)
    except (OSError, ValueError) as error:
        raise InputError(f"{title}: is not four rows of four numbers: write it again") from error
    check_matrix(flirt, title)
    return np.linalg.inv(fsl_coordinates(moving)) @ np.linalg.inv(flirt) @ fsl_coordinates(fixed)


def _refuse_absolute(
    vectors: Float[ndarray, "x y z 3"],
    affine: Float[ndarray, "4 4"],
    to_fixed: Float[ndarray, "4 4"],
    from_moving: Float[ndarray, "4 4"],
    title: str,
) -> None:
    """FSL's absolute coordinates look like displacements; but the map they give is absurd.

    Read as what they are not, coordinates and displacements alike turn, mirror or stretch the
    brain by the images' own axes. The reading whose mean derivative is the nearer to no change of
    shape is taken for the right one: it is, up to turns of 45°, whatever the images' axes.
    """
    slopes = np.stack(
        [np.diff(vectors, axis=axis).mean(axis=(0, 1, 2)) for axis in range(3)], axis=-1
    )
    absolute = from_moving[:3, :3] @ slopes @ np.linalg.inv(affine[:3, :3])
    relative = absolute + from_moving[:3, :3] @ to_fixed[:3, :3]
    mend = "give a relative warp (convertwarp --relout)"
    if np.linalg.norm(absolute - np.eye(3)) < np.linalg.norm(relative - np.eye(3)):
        raise InputError(f"{title}: holds absolute coordinates: {mend}")
    ratio = np.linalg.det(relative)
    if not _VOLUME_RATIOS[0] < ratio < _VOLUME_RATIOS[1]:
        raise InputError(
            f"{title}: changes volumes {ratio:.2g}-fold: {mend}, and the moving image that it was "
            "made for"
        )
