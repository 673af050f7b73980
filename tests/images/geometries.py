"""Affines of many kinds, shared by the tests of this folder."""

import numpy as np
from scipy.spatial.transform import Rotation


def affine(spacing, *, axes=(0, 1, 2), signs=(1, 1, 1), degrees=(0, 0, 0), centre=(0, 0, 0), shape):
    """Voxel axes along the given world axes and signs, rotated, the grid's middle at `centre`."""
    permuted = np.zeros((3, 3))
    for column, (row, sign) in enumerate(zip(axes, signs, strict=True)):
        permuted[row, column] = sign
    linear = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ permuted
    matrix = np.eye(4)
    matrix[:3, :3] = linear * np.asarray(spacing, dtype=float)
    matrix[:3, 3] = np.asarray(centre) - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return matrix


# name: (shape, affine)
GRIDS = {
    "RAS": ((20, 24, 18), {"spacing": (2, 2, 2)}),
    "LAS": ((18, 20, 22), {"spacing": (2, 2.2, 1.9), "signs": (-1, 1, 1)}),
    "LPS": ((20, 20, 20), {"spacing": (2, 2, 2), "signs": (-1, -1, 1)}),
    "oblique": ((20, 22, 24), {"spacing": (1.8, 2, 1.7), "degrees": (12, -20, 31)}),
    "thick": ((30, 28, 11), {"spacing": (1.2, 1.3, 4), "centre": (3, -2, 1)}),
    "permuted": (
        (22, 12, 26),
        {"spacing": (2, 3.5, 1.6), "axes": (1, 2, 0), "signs": (-1, 1, -1), "degrees": (5, 8, -15)},
    ),
}


def grid(name: str):
    """Shape and affine (4, 4) of one of GRIDS."""
    shape, options = GRIDS[name]
    return shape, affine(shape=shape, **options)


def smooth_image(shape, affine_matrix) -> np.ndarray:
    """A smooth function of world position that falls to nearly nothing 20 mm from the origin."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index @ affine_matrix[:3, :3].T + affine_matrix[:3, 3], -1, 0)
    bump = np.exp(-(x**2 + y**2 + z**2) / (2 * 8.0**2))
    return (bump * (2 + np.sin(0.4 * x) + np.cos(0.3 * y + 0.2 * z))).astype(np.float32)
