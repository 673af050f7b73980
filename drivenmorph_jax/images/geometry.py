"""What makes an affine usable: finite, invertible, orthogonal axes, a spacing of this world."""

import numpy as np

from drivenmorph_jax.errors import InputError

LPS = np.array([-1.0, -1.0, 1.0])
"""Signs that turn RAS coordinates and vectors into LPS, in which ITK counts, and back."""

# ITK 5.4 reads direction cosines off by 5e-5 and refuses 1.5e-4; float32 headers round to 1e-7.
SHEAR_TOLERANCE = 1e-4
SMALLEST_SPACING = 0.01
LARGEST_SPACING = 30.0


def check_affine(affine: np.ndarray, title: str) -> None:
    """Raise InputError unless `affine` (4, 4) is one that ITK too would accept.

    `title` names the file in the message.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError(f"{title}: its affine is not finite: repair the header")
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if spacing.min() == 0 or abs(np.linalg.det(axes / spacing)) < 1e-3:
        raise InputError(
            f"{title}: its affine is singular: copy the geometry from the scan it came from"
        )
    if spacing.min() < SMALLEST_SPACING or spacing.max() > LARGEST_SPACING:
        sizes = " x ".join(f"{size:.4g}" for size in spacing)
        raise InputError(
            f"{title}: voxels of {sizes} mm are absurd: correct the header (units are mm)"
        )
    if shear(affine) > SHEAR_TOLERANCE:
        raise InputError(
            f"{title}: its affine is sheared, which ITK refuses: resample it onto a plain grid"
        )


def shear(affine: np.ndarray) -> float:
    """Largest cosine between two voxel axes; 0 where they are orthogonal."""
    axes = affine[:3, :3]
    cosines = axes / np.linalg.norm(axes, axis=0)
    return float(np.abs(cosines.T @ cosines - np.eye(3)).max())


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(4, 4) applied to points (..., 3)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def to_lps(vectors: np.ndarray) -> np.ndarray:
    """RAS components (..., 3) in LPS, or back, of the same type; what is 0 is +0, in long runs."""
    return vectors * LPS.astype(vectors.dtype) + vectors.dtype.type(0)
