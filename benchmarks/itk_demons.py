"""Demons as SimpleITK has them, on arrays of the common grid."""

import numpy as np
import SimpleITK as sitk
from numpy import ndarray

VARIANTS = {
    "sitk_demons": sitk.DemonsRegistrationFilter,
    "sitk_diffeomorphic_demons": sitk.DiffeomorphicDemonsRegistrationFilter,
}
SETTINGS = {
    "histogram_levels": 1024,
    "histogram_match_points": 7,
    "shrink": [4, 2, 1],
    "iterations": [60, 40, 20],
    "sigma_voxels": 1.5,
}


def register(
    variant: str, fixed: ndarray, moving: ndarray, spacing: tuple[float, float, float]
) -> ndarray:
    """Displacement of histogram-matched, multi-resolution Demons, (D, H, W, 3) in voxels.

    Every level starts from the field of the coarser one. A level is the image smoothed by a
    Gaussian of half its shrink factor, in voxels, and resampled.
    """
    fixed_image, moving_image = to_itk(fixed, spacing), to_itk(moving, spacing)
    moving_image = sitk.HistogramMatching(
        moving_image,
        fixed_image,
        SETTINGS["histogram_levels"],
        SETTINGS["histogram_match_points"],
        True,
    )
    field = None
    for shrink, iterations in zip(SETTINGS["shrink"], SETTINGS["iterations"], strict=True):
        fixed_level, moving_level = (_level(x, shrink) for x in (fixed_image, moving_image))
        demons = VARIANTS[variant]()
        demons.SetNumberOfIterations(iterations)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(SETTINGS["sigma_voxels"])
        if field is None:
            field = demons.Execute(fixed_level, moving_level)
        else:
            # Vectors are physical: between grids they are interpolated, not rescaled.
            field = demons.Execute(fixed_level, moving_level, _onto(field, fixed_level))
    assert field is not None
    return to_voxels(field)


def to_itk(array: ndarray, spacing: tuple[float, float, float]) -> sitk.Image:
    """An array (D, H, W) as an image whose axes x, y, z are D, H, W, from the origin."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing([float(step) for step in spacing])
    return image


def to_voxels(field: sitk.Image) -> ndarray:
    """A displacement field of such a grid, in mm, as (D, H, W, 3) in voxels."""
    millimetres = sitk.GetArrayFromImage(field).transpose(2, 1, 0, 3)
    return (millimetres / np.array(field.GetSpacing())).astype(np.float32)


def _level(image: sitk.Image, shrink: int) -> sitk.Image:
    if shrink == 1:
        return image
    size, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    smooth = sitk.SmoothingRecursiveGaussian(image, (0.5 * shrink * spacing).tolist())
    coarse = np.maximum(size // shrink, 4)
    # First and last voxel centres stay where they are.
    step = (size - 1) * spacing / (coarse - 1)
    return sitk.Resample(
        smooth,
        [int(n) for n in coarse],
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        step.tolist(),
        image.GetDirection(),
        0.0,
        image.GetPixelID(),
    )


def _onto(field: sitk.Image, reference: sitk.Image) -> sitk.Image:
    return sitk.Resample(
        field, reference, sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID()
    )
