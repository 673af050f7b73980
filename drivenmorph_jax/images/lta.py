"""FreeSurfer's linear transforms, in .lta files.

They lead from the moving image (source) to the fixed one (destination): against our direction.
"""

import os
import pathlib

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.freesurfer import direction_cosines
from drivenmorph_jax.images.itk_linear import check_matrix
from drivenmorph_jax.images.resample import Grid
from drivenmorph_jax.writing import write_atomically

_VOXEL_TO_VOXEL, _RAS_TO_RAS = 0, 1


def write_lta(
    path: str | os.PathLike, matrix: Float[ndarray, "4 4"], fixed: Grid, moving: Grid
) -> None:
    """Write an affine as RAS to RAS, with both geometries.

    Args:
        path: a .lta file; it appears whole or not at all.
        matrix: (4, 4), fixed world to moving world, RAS mm.
        fixed, moving: both images' voxels.

    Raises:
        InputError: the ending is another, or the file cannot be written.
        LinAlgError: the matrix is singular.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".lta":
        raise InputError(f"{path}: FreeSurfer's affines end in .lta: change the ending")
    lines = [
        f"type      = {_RAS_TO_RAS} # LINEAR_RAS_TO_RAS",
        "nxforms   = 1",
        "mean      = 0.0000 0.0000 0.0000",
        "sigma     = 1.0000",
        "1 4 4",
        *(_words(row) for row in np.linalg.inv(matrix)),
        "src volume info",
        *_geometry(moving),
        "dst volume info",
        *_geometry(fixed),
        "",
    ]
    write_atomically(path, lambda temporary: temporary.write_text("\n".join(lines)))


def read_lta(path: str | os.PathLike) -> Float[ndarray, "4 4"]:
    """The (4, 4) matrix, fixed world to moving world in RAS mm.

    Raises:
        InputError: the file cannot be read, or is neither RAS to RAS nor voxel to voxel.
    """
    title = f"FreeSurfer affine {path}"
    if not pathlib.Path(path).is_file():
        raise InputError(f"{title}: no such file: check the path")
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
        lines = [line.split("#")[0].strip() for line in lines]
        lines = [line for line in lines if line]
        kind = int(_value(lines, "type"))
        first = lines.index("1 4 4") + 1
        matrix = np.array([line.split() for line in lines[first : first + 4]]).astype(np.float64)
        check_matrix(matrix.reshape(4, 4), title)
        if kind == _VOXEL_TO_VOXEL:
            source, target = (_affine(lines, side) for side in ("src", "dst"))
            matrix = target @ matrix @ np.linalg.inv(source)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, IndexError, np.linalg.LinAlgError) as error:
        raise InputError(f"{title}: is not a readable .lta file: write it again") from error
    if kind not in (_VOXEL_TO_VOXEL, _RAS_TO_RAS):
        raise InputError(f"{title}: is of type {kind}: convert it (lta_convert), to type 1")
    return np.linalg.inv(matrix)


def _geometry(grid: Grid) -> list[str]:
    spacing, axes, middle = direction_cosines(grid)
    shape = " ".join(str(int(size)) for size in grid.shape)
    return [
        "valid = 1  # volume info valid",
        "filename = none",
        f"volume = {shape}",
        f"voxelsize = {_words(spacing)}",
        *(f"{name}ras   = {_words(axis)}" for name, axis in zip("xyz", axes.T, strict=True)),
        f"cras   = {_words(middle)}",
    ]


def _affine(lines: list[str], side: str) -> Float[ndarray, "4 4"]:
    """Voxels to RAS mm of one of the two images."""
    block = lines[lines.index(f"{side} volume info") + 1 :][:8]
    if _value(block, "valid") != "1":
        raise ValueError(f"no geometry of {side}")

    def numbers(key: str) -> ndarray:
        return np.array(_value(block, key).split(), dtype=np.float64)

    affine = np.eye(4)
    axes = np.stack([numbers(f"{name}ras") for name in "xyz"], axis=-1)
    affine[:3, :3] = axes * numbers("voxelsize")
    affine[:3, 3] = numbers("cras") - affine[:3, :3] @ (numbers("volume") / 2)
    return affine


def _value(lines: list[str], key: str) -> str:
    """What stands behind `key =`."""
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and name.strip() == key:
            return value.strip()
    raise KeyError(key)


def _words(numbers: Float[ndarray, "n"]) -> str:
    return " ".join(f"{number:.15e}" for number in numbers)
