"""Labels carried from one subject to another: what every overlap is computed on."""

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray
from scipy.ndimage import map_coordinates

from drivenmorph_jax.data.subject import NativeLabels, Subject


def carry_labels(
    fixed: Subject, moving: Subject, displacement: Float[ndarray, "d h w 3"]
) -> tuple[Integer[ndarray, "x y z"], Integer[ndarray, "x y z"]]:
    """The fixed labels, and the moving ones on the same voxels: the fixed subject's own.

    A voxel of the fixed subject goes to the common grid, along the displacement there (linear
    between voxels), and on to the moving subject's own voxels, where the nearest label is read.
    So fixed labels are not resampled, and moving ones once: resampling both onto the common grid
    first costs every method overlap, and hides differences between methods. Labels that come
    without native ones (phantoms) already lie on the voxels that they were made on.

    Args:
      fixed, moving: subjects with labels.
      displacement: voxels of the common grid: warped(x) = moving(x + u(x)).

    Returns:
      Fixed labels, and moving labels there; 0 beyond the moving labels.
    """
    target, source = _native(fixed), _native(moving)
    voxels = np.indices(target.labels.shape, np.float32)
    common = _apply(np.linalg.inv(target.from_common), voxels)
    shift = [
        map_coordinates(component, common, order=1, mode="nearest")
        for component in np.moveaxis(np.asarray(displacement, np.float32), -1, 0)
    ]
    place = _apply(source.from_common, common + np.stack(shift))
    carried = map_coordinates(source.labels, place, order=0, mode="grid-constant")
    return target.labels, carried


def _native(subject: Subject) -> NativeLabels:
    if subject.native is not None:
        return subject.native
    assert subject.labels is not None
    return NativeLabels(subject.labels, np.eye(4))


def _apply(
    matrix: Float[ndarray, "4 4"], voxels: Float[ndarray, "3 x y z"]
) -> Float[ndarray, "3 x y z"]:
    # Rounded as in `images.resample`: nearest neighbours at exact halves would else be luck.
    matrix = np.round(matrix, 9).astype(np.float32)
    return np.einsum("ij,j...->i...", matrix[:3, :3], voxels) + matrix[:3, 3, None, None, None]
