"""An affine that the user brings, in place of a search for one."""

import os

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Volume, read_transform


def read_initial_affine(
    path: str | os.PathLike[str], fixed: Volume, moving: Volume
) -> Float[ndarray, "4 4"]:
    """Fixed world to moving world, RAS mm.

    Args:
        path: ITK's .mat, .tfm or .txt, FSL's .mat, FreeSurfer's .lta.
        fixed, moving: the images; FSL's files mean nothing without them.

    Raises:
        InputError: the file cannot be read, is no affine, or is one that mirrors or flattens.
    """
    matrix = read_transform(
        path, fixed=Grid(fixed.shape, fixed.affine), moving=Grid(moving.shape, moving.affine)
    ).matrix
    if matrix is None:
        raise InputError(f"initial affine {path}: is a deformation: give an affine alone")
    determinant = np.linalg.det(matrix[:3, :3])
    # A brain is not a thousand times another.
    if not 1e-3 < determinant < 1e3:
        raise InputError(
            f"initial affine {path}: its determinant is {determinant:.3g}, so it mirrors or "
            "flattens the image: give one that leads from the fixed to the moving image"
        )
    return matrix
