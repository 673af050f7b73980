"""Fields that the tests of geometry share."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest


def _smooth_field(shape: Sequence[int], *, amplitude: float = 0.8, seed: int = 0) -> np.ndarray:
    """A displacement of a few long waves that is 0 on the border; in voxels, float64.

    The same seed gives the same field on every grid, in units of the box: `amplitude` counts voxels
    of an axis of 16, and grows with the grid.
    """
    rng = np.random.default_rng(seed)
    n = len(shape)
    axes = [np.linspace(0, 1, size) for size in shape]
    field = np.zeros((*shape, n))
    window = np.ones(shape)
    for axis, t in enumerate(axes):
        window = window * np.expand_dims(np.sin(np.pi * t), tuple(set(range(n)) - {axis}))
    for component in range(n):
        wave = np.zeros(shape)
        for axis, t in enumerate(axes):
            line = np.cos(np.pi * t * rng.uniform(0.5, 1.5) + rng.uniform(0, 6))
            wave = wave + np.expand_dims(line, tuple(set(range(n)) - {axis}))
        field[..., component] = window * wave * amplitude * shape[component] / 16
    return field


@pytest.fixture
def smooth_field() -> Callable[..., np.ndarray]:
    """(shape, amplitude=, seed=) to a smooth displacement, 0 on the border."""
    return _smooth_field


@pytest.fixture
def ball() -> Callable[..., np.ndarray]:
    """(shape, radius) to a mask of the voxels within a radius of the middle of the grid."""

    def mask(shape: Sequence[int], radius: float) -> np.ndarray:
        grid = np.moveaxis(np.indices(shape, float), 0, -1)
        centre = (np.array(shape) - 1) / 2
        return np.linalg.norm(grid - centre, axis=-1) <= radius

    return mask
