"""A brain as the network sees it: on a grid, blurred as that grid's voxels are, scaled."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

from drivenmorph_jax.images.resample import Grid, resample
from drivenmorph_jax.images.volume import Volume
from drivenmorph_jax.spatial.filters import FWHM_TO_SIGMA

LEAST_COVERAGE = 0.1
"""Share of a blurred voxel that lies in the brain, below which it is background."""

_BRIGHT_PERCENTILE = 99.9
# In voxels: less blur changes nothing that could be seen.
_LEAST_SIGMA = 0.2


def brain_on_grid(
    volume: Volume, grid: Grid, *, matrix: Float[ndarray, "4 4"]
) -> Float[ndarray, "x y z"] | None:
    """The brain sampled linearly on the grid, float32; None where nothing of it falls there.

    A finer image is blurred before to the grid's resolution, so that nothing is skipped between
    its points.

    Args:
        volume: 0 outside the brain.
        grid: where to.
        matrix: the grid's world to the image's, RAS mm.

    Returns:
        0 outside the brain and above it inside, bright tissue near 1.
    """
    sigmas = _blur_to(np.linalg.norm(grid.affine[:3, :3], axis=0).max(), volume.spacing)
    data = resample(_smooth(volume, volume.data, sigmas), *grid, matrix=matrix).data
    if any(sigmas):
        # Smoothing carries a faint rim far into the background, which must stay exactly 0.
        brain = _smooth(volume, (volume.data != 0).astype(np.float32), sigmas)
        data[resample(brain, *grid, matrix=matrix).data < LEAST_COVERAGE] = 0
    data = np.maximum(data, 0)
    inside = data[data > 0]
    if len(inside) == 0:
        return None
    return (data / np.percentile(inside, _BRIGHT_PERCENTILE)).astype(np.float32)


def _blur_to(target: float, spacing: np.ndarray) -> list[float]:
    """Widths in voxels that bring voxels of `spacing` to the blur of the coarser target."""
    blur = np.sqrt(np.maximum(target**2 - spacing**2, 0)) * FWHM_TO_SIGMA / spacing
    return [float(width) if width > _LEAST_SIGMA else 0.0 for width in blur]


def _smooth(volume: Volume, data: np.ndarray, sigmas: list[float]) -> Volume:
    if not any(sigmas):
        return Volume(data, volume.affine)
    smoothed = ndimage.gaussian_filter(
        data, sigmas, output=np.float32, mode="constant", truncate=3.0
    )
    return Volume(smoothed, volume.affine)
