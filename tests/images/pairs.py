"""Pairs of images of unlike geometry, and a random smooth transform between them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from drivenmorph_jax.images import (
    Grid,
    Transform,
    Volume,
    save_volume,
    working_grid,
    world_displacement,
)
from tests.images.geometries import GRIDS, grid, smooth_image

MATRIX = np.array([[1.05, 0.1, 0, 2], [-0.08, 0.95, 0.02, -1], [0.03, 0, 1.1, 0.5], [0, 0, 0, 1.0]])
NAMES = list(zip(GRIDS, [*list(GRIDS)[1:], next(iter(GRIDS))], strict=True))


class Pair(NamedTuple):
    """Both images, the moving one's labels, and a field with MATRIX in it."""

    fixed: Volume
    moving: Volume
    labels: Volume
    transform: Transform

    @property
    def fixed_grid(self) -> Grid:
        return Grid(self.fixed.shape, self.fixed.affine)

    @property
    def moving_grid(self) -> Grid:
        return Grid(self.moving.shape, self.moving.affine)

    @property
    def displacement(self) -> np.ndarray:
        return self.transform.displacement(self.fixed_grid)

    def save(self, folder: Path) -> None:
        for name in ("fixed", "moving", "labels"):
            save_volume(folder / f"{name}.nii.gz", getattr(self, name))

    def check_image(self, theirs: np.ndarray) -> None:
        """Another tool's warped image, linear: ours within 1e-4 of the range."""
        ours = self.transform.warp(self.moving, self.fixed_grid).data
        inside = self.interior()
        assert np.ptp(ours[inside]) > 0.5 * np.ptp(self.moving.data)
        assert np.abs(theirs - ours)[inside].max() < 1e-4 * np.ptp(self.moving.data)

    def check_labels(self, theirs: np.ndarray) -> None:
        """Another tool's warped labels, nearest: ours, but for points half-way between voxels."""
        ours = self.transform.warp(self.labels, self.fixed_grid, order=0).data
        inside = self.interior() & ~self._halfway()
        assert set(np.unique(ours[inside])) == {0, 7}
        np.testing.assert_array_equal(np.asarray(theirs)[inside], ours[inside])

    def interior(self) -> np.ndarray:
        """Where the point lies between voxel centres of the moving image: borders differ."""
        voxels = self._voxels()
        return np.all((voxels > 0.01) & (voxels < np.array(self.moving.shape) - 1.01), axis=-1)

    def _halfway(self) -> np.ndarray:
        parts = self._voxels() % 1
        return np.any(np.abs(parts - 0.5) < 1e-4, axis=-1)

    def _voxels(self) -> np.ndarray:
        world = world_points(self.fixed_grid) + self.displacement
        back = np.linalg.inv(self.moving.affine)
        return world @ back[:3, :3].T + back[:3, 3]


def pair(fixed_name: str, moving_name: str) -> Pair:
    fixed, moving = volume(fixed_name), volume(moving_name)
    labels = Volume((moving.data > 0.8).astype(np.int32) * 7, moving.affine)
    transform = Transform.from_field(random_field(fixed), fixed.affine)
    return Pair(fixed, moving, labels, transform)


def volume(name: str) -> Volume:
    shape, geometry = grid(name)
    return Volume(smooth_image(shape, geometry), geometry)


def random_field(fixed: Volume) -> np.ndarray:
    """A smooth random deformation of some mm on a working grid, and MATRIX, as a world field."""
    box = working_grid(fixed, 2.5, multiple_of=4)
    noise = np.random.default_rng(1).normal(size=(*box.shape, 3))
    smooth = np.stack([ndimage.gaussian_filter(noise[..., a], 3) for a in range(3)], axis=-1)
    smooth *= 1.5 / np.abs(smooth).max()
    return world_displacement(smooth, box.affine, MATRIX, fixed.shape, fixed.affine)


def world_points(of: Grid) -> np.ndarray:
    """(X, Y, Z, 3) RAS mm of a grid's voxels."""
    index = np.stack(np.meshgrid(*map(np.arange, of.shape), indexing="ij"), axis=-1)
    return index @ of.affine[:3, :3].T + of.affine[:3, 3]


def points_inside(of: Grid, count: int = 20) -> np.ndarray:
    """Random points (count, 3), RAS mm, well within a grid."""
    share = np.random.default_rng(3).uniform(0.25, 0.75, (count, 3))
    return (share * (np.array(of.shape) - 1)) @ of.affine[:3, :3].T + of.affine[:3, 3]
