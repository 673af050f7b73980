"""Does the written warp say what we computed? Read it back, and apply it as another tool would.

Nothing here is the library's own: NiBabel reads the file, SciPy samples, and the convention (a
displacement in LPS mm on the voxels of the header's affine) is written out once more. A mistake in
the library's sampling, geometry or writing shows as a difference.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage


def replay_mismatch(
    warp: Path, warped: Path, moving: np.ndarray, moving_affine: np.ndarray
) -> float:
    """Largest difference between a written image and the moving one sent through a written warp.

    Args:
        warp: an ITK displacement field.
        warped: the image that it is said to give (linear interpolation, 0 outside).
        moving: (X, Y, Z), the image that was warped.
        moving_affine: (4, 4), its voxels to RAS mm.

    Returns:
        The difference as a share of the moving image's range.
    """
    field = nib.load(warp)
    vectors = np.asarray(field.dataobj)  # type: ignore[attr-defined]
    to_world = np.asarray(field.affine, np.float64)  # type: ignore[attr-defined]
    written = np.asarray(nib.load(warped).dataobj)  # type: ignore[attr-defined]
    if vectors.shape != (*written.shape, 1, 3):
        return float("inf")
    from_world = np.linalg.inv(moving_affine)
    source = moving.astype(np.float64)
    span = float(np.ptp(source))
    largest = 0.0
    # A plane at a time: the coordinates of a whole volume would take gigabytes.
    inner = np.indices(written.shape[1:]).reshape(2, -1)
    for plane in range(written.shape[0]):
        voxels = np.vstack([np.full((1, inner.shape[1]), plane), inner])
        fixed_points = to_world[:3, :3] @ voxels + to_world[:3, 3:]
        lps = vectors[plane].reshape(-1, 3).T.astype(np.float64)
        moving_points = fixed_points + lps * [[-1], [-1], [1]]
        places = from_world[:3, :3] @ moving_points + from_world[:3, 3:]
        values = ndimage.map_coordinates(source, places, order=1, mode="grid-constant")
        apart = np.abs(values - written[plane].ravel()).max()
        # A comparison with NaN is false, and must not pass.
        largest = max(largest, float(apart)) if np.isfinite(apart) else float("inf")
    return largest / span if span > 0 else largest
