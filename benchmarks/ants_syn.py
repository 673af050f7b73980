"""SyN as antspyx has it, on arrays of the common grid."""

import pathlib
import tempfile
import time

import ants
import numpy as np
from numpy import ndarray

# Name to antspyx's type of transform. The "only" ones start from the common affine grid as it is,
# the others run ANTs' own affine registration first.
VARIANTS = {"ants_syn": "SyNOnly", "ants_syn_own_affine": "SyN", "ants_syncc_own_affine": "SyNCC"}


def register(
    variant: str, fixed: ndarray, moving: ndarray, spacing: tuple[float, float, float]
) -> tuple[ndarray, float]:
    """Displacement with ANTs' affine included, (D, H, W, 3) in voxels, and the seconds it took.

    The seconds are those of the registration: composing its transforms into one field is ours.
    """
    fixed_image, moving_image = to_ants(fixed, spacing), to_ants(moving, spacing)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = ants.registration(
            fixed_image,
            moving_image,
            type_of_transform=VARIANTS[variant],
            outprefix=str(pathlib.Path(folder) / "syn_"),
            random_seed=1,
        )
        seconds = time.perf_counter() - start
        return composed_field(fixed_image, moving_image, result["fwdtransforms"], folder), seconds


def composed_field(fixed, moving, transforms: list[str], folder: str) -> ndarray:
    """ANTs' list of transforms as one displacement in voxels of the fixed grid."""
    prefix = str(pathlib.Path(folder) / "total_")
    path = ants.apply_transforms(fixed, moving, transforms, compose=prefix)
    assert path is not None, "antsApplyTransforms wrote no field"
    field = ants.image_read(path)
    # Identity direction: ITK's x, y, z run along the array's axes.
    return (field.numpy() / np.array(fixed.spacing)).astype(np.float32)


def to_ants(array: ndarray, spacing: tuple[float, float, float]):
    """An array (D, H, W) as an image from the origin, with identity direction."""
    return ants.from_numpy(np.asarray(array, np.float32), spacing=tuple(map(float, spacing)))
