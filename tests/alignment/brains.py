"""Synthetic brains of known pose, and the error of a recovered one."""

import numpy as np
from scipy.spatial.transform import Rotation


def _blobs() -> list[tuple[np.ndarray, float, float]]:
    rng = np.random.default_rng(3)
    return [(rng.uniform(-28, 28, 3), rng.uniform(6, 11), rng.uniform(0.5, 1.5)) for _ in range(14)]


BLOBS = _blobs()


def brain(shape, affine, matrix=None, *, contrast="t1") -> np.ndarray:
    """An ellipsoid with blobs inside, seen through the inverse of `matrix`; background 0.

    With `matrix` A the image is I(A⁻¹ y), so aligning brain(fixed grid) to it must give A.
    """
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    if matrix is not None:
        back = np.linalg.inv(matrix)
        world = world @ back[:3, :3].T + back[:3, 3]
    inside = ((world / [45, 55, 40]) ** 2).sum(-1) < 1
    value = np.ones(shape)
    for centre, width, height in BLOBS:
        value += height * np.exp(-((world - centre) ** 2).sum(-1) / (2 * width**2))
    if contrast == "t2":
        value = 4.5 - value + 0.15 * (value - 2) ** 2
    return np.where(inside, value, 0).astype(np.float32)


def transform(*, degrees=0.0, axis=(1, 1, 1), shift=(0, 0, 0), scale=(1, 1, 1)) -> np.ndarray:
    """(4, 4) world to world."""
    direction = np.asarray(axis) / np.linalg.norm(axis)
    matrix = np.eye(4)
    turn = Rotation.from_rotvec(np.radians(degrees) * direction).as_matrix()
    matrix[:3, :3] = turn * np.asarray(scale, dtype=float)
    matrix[:3, 3] = shift
    return matrix


def error(found, truth, points) -> tuple[float, float]:
    """Mean distance in mm over `points` (N, 3), and the angle in degrees, between two matrices."""
    difference = np.asarray(found, dtype=np.float64) - truth
    distance = np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean()
    turns = [_nearest_rotation(np.asarray(m, dtype=np.float64)[:3, :3]) for m in (found, truth)]
    angle = Rotation.from_matrix(turns[0] @ turns[1].T).magnitude()
    return float(distance), float(np.degrees(angle))


def _nearest_rotation(linear):
    left, _, right = np.linalg.svd(linear)
    return left @ right
