"""Regularity of a displacement field as reported: SDlogJ, share of folded voxels, NDV.

NumPy in float64, for evaluation; displacements are (D, H, W, 3) in voxels of their own grid.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sdlogj(displacement: ArrayLike, *, mask: ArrayLike | None = None) -> float:
    """Standard deviation of log(det ∂φ/∂x), as Learn2Reg computes it.

        std(log(clip(det + 3, 1e-9, 1e9)))

    by central differences, without the two outer voxels on each side. The 3 is the challenge's
    own: the figures are comparable with its tables, and smaller than the true deviation.

    Args:
      displacement: (D, H, W, 3), in voxels, at least 5 voxels an axis.
      mask: (D, H, W), the voxels that count.
    """
    core = (slice(2, -2),) * 3
    determinant = _central_determinant(_checked(displacement, shortest=5))[core]
    logarithm = np.log(np.clip(determinant + 3, 1e-9, 1e9))
    if mask is not None:
        logarithm = logarithm[_mask_of(mask, displacement)[core]]
    return float(logarithm.std()) if logarithm.size else float("nan")


def folding_percent(displacement: ArrayLike, *, mask: ArrayLike | None = None) -> float:
    """Percentage of voxels with det ∂φ/∂x <= 0, by central differences (one-sided at the border).

    Learn2Reg's own count is always 0, being taken after the 3 is added. Central differences miss
    folds between neighbouring voxels: `ndv_percent` does not.

    Args:
      displacement: (D, H, W, 3), in voxels.
      mask: (D, H, W), the voxels that count.
    """
    folded = _central_determinant(_checked(displacement, shortest=2)) <= 0
    if mask is not None:
        folded = folded[_mask_of(mask, displacement)]
    return float(100 * folded.mean()) if folded.size else float("nan")


def ndv_percent(displacement: ArrayLike, *, mask: ArrayLike | None = None) -> float:
    """Non-diffeomorphic volume, in percent of the volume (Liu et al., IJCV 2024).

    A map of voxel centres is a digital diffeomorphism where ten determinants are positive: the
    eight of forward and backward differences, J^{±±±}, and two of the tetrahedra that these leave
    in the middle of each cube, J*₁ and J*₂. NDV = Σ_x Σ_k max(0, −J_k(x)) / 12 is the volume that
    the map turns over when it is linear on these tetrahedra. Beyond the grid the displacement
    keeps its edge value.

    Args:
      displacement: (D, H, W, 3), in voxels.
      mask: (D, H, W), the voxels that count.
    """
    displacement = _checked(displacement, shortest=1)
    padded = np.pad(displacement, [(1, 1)] * 3 + [(0, 0)], mode="edge")

    def edge(*step: int) -> NDArray[np.float64]:
        """φ(x + step) − φ(x), for every voxel."""
        window = tuple(
            slice(1 + s, 1 + s + n) for s, n in zip(step, displacement.shape[:3], strict=True)
        )
        return padded[window] - displacement + np.asarray(step, np.float64)

    volume = np.zeros(displacement.shape[:3])
    unit = np.eye(3, dtype=int)
    along = [{s: s * edge(*unit[axis] * s) for s in (1, -1)} for axis in range(3)]
    for signs in itertools.product((1, -1), repeat=3):
        edges = (there[s] for there, s in zip(along, signs, strict=True))
        volume += np.maximum(-_determinant(*edges), 0)
    for corners in (
        ((-1, -1, 0), (-1, 0, -1), (0, -1, -1)),
        ((1, 1, 0), (0, 1, 1), (1, 0, 1)),
    ):
        volume += np.maximum(-_determinant(*(edge(*corner) for corner in corners)), 0)
    volume /= 12
    if mask is not None:
        volume = volume[_mask_of(mask, displacement)]
    return float(100 * volume.mean()) if volume.size else float("nan")


def _central_determinant(displacement) -> NDArray[np.float64]:
    unit = np.eye(3)
    edges = [np.gradient(displacement, axis=axis) + unit[axis] for axis in range(3)]
    return _determinant(*edges)


def _determinant(a, b, c) -> NDArray[np.float64]:
    """det [a, b, c] per voxel, written out: `linalg.det` is slow on volumes."""
    return (
        a[..., 0] * (b[..., 1] * c[..., 2] - b[..., 2] * c[..., 1])
        - a[..., 1] * (b[..., 0] * c[..., 2] - b[..., 2] * c[..., 0])
        + a[..., 2] * (b[..., 0] * c[..., 1] - b[..., 1] * c[..., 0])
    )


def _checked(displacement, *, shortest: int) -> NDArray[np.float64]:
    displacement = np.asarray(displacement, np.float64)
    if displacement.ndim != 4 or displacement.shape[-1] != 3:
        raise ValueError(f"a displacement is (D, H, W, 3), got {displacement.shape}")
    if min(displacement.shape[:3]) < shortest:
        raise ValueError(f"{shortest} voxels an axis are needed, got {displacement.shape[:3]}")
    return displacement


def _mask_of(mask, displacement) -> NDArray[np.bool_]:
    mask = np.asarray(mask) != 0
    space = np.shape(displacement)[:3]
    if mask.shape != space:
        raise ValueError(f"mask {mask.shape} does not cover a displacement of {space}")
    return mask
