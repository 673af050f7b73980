"""Synthetic brains on awkward grids, with files of them, for the tests of whole registrations."""

from pathlib import Path

import numpy as np

from drivenmorph_jax.images import Volume, save_volume
from tests.images.geometries import affine

RADII = np.array([26.0, 32.0, 24.0])
BLOBS = (  # centre (mm), radius (mm), value
    ((-11, 4, 3), 8, 0.5),
    ((11, 4, 3), 8, 0.5),
    ((0, -14, -6), 9, 0.7),
    ((3, 16, 8), 7, 0.3),
    ((-6, 10, -10), 6, 1.3),
)
# name: shape and geometry; the brain lies inside each, at another place of the scanner.
GRIDS = {
    "plain": ((44, 50, 40), {"spacing": (2, 2, 2)}),
    "oblique": (
        (48, 50, 46),
        {
            "spacing": (1.8, 2, 1.9),
            "signs": (-1, 1, 1),
            "degrees": (12, -20, 31),
            "centre": (5, -7, 4),
        },
    ),
    "thick": (
        (64, 68, 24),
        {"spacing": (1.2, 1.3, 3.6), "signs": (-1, -1, 1), "centre": (40, 2, -9)},
    ),
    "permuted": (
        (40, 26, 46),
        {
            "spacing": (2, 3.5, 1.9),
            "axes": (1, 2, 0),
            "signs": (-1, 1, -1),
            "degrees": (5, 8, -15),
            "centre": (-25, 8, 12),
        },
    ),
}


def brain(name: str, *, other: bool = False) -> Volume:
    """A brain on one of GRIDS; `other` is another person's: scaled and bent."""
    return _render(name, other, labels=False)


def brain_labels(name: str, *, other: bool = False) -> Volume:
    """Its labels: 1, and 2, 3, … for the blobs."""
    return _render(name, other, labels=True)


def middle(volume: Volume) -> np.ndarray:
    """Centre of the brain, RAS mm."""
    voxels = np.argwhere(volume.data != 0).mean(axis=0)
    return volume.affine[:3, :3] @ voxels + volume.affine[:3, 3]


def write_pair(folder: Path, fixed: str = "plain", moving: str = "oblique") -> dict[str, Path]:
    """Files of a pair with labels, by what they are."""
    volumes = {
        "fixed": brain(fixed),
        "moving": brain(moving, other=True),
        "fixed_labels": brain_labels(fixed),
        "moving_labels": brain_labels(moving, other=True),
    }
    paths = {name: folder / f"{name}.nii.gz" for name in volumes}
    for name, volume in volumes.items():
        save_volume(paths[name], volume)
    return paths


def _render(name: str, other: bool, *, labels: bool) -> Volume:
    shape, options = GRIDS[name]
    geometry = affine(shape=shape, **options)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    middle = np.asarray(options.get("centre", (0, 0, 0)))
    x = index @ geometry[:3, :3].T + geometry[:3, 3] - middle
    if other:
        x = x * [1.05, 0.96, 1.04] + 1.5 * np.sin(x[..., [1, 2, 0]] / 9)
    values = 1 + 0.1 * np.sin(x / [7, 6, 8]).sum(-1)
    value = np.where(((x / RADII) ** 2).sum(-1) < 1, 1 if labels else values, 0)
    for number, (centre, radius, height) in enumerate(BLOBS, start=2):
        inside = ((x - centre) ** 2).sum(-1) < radius**2
        value = np.where(inside, number if labels else height, value)
    return Volume(value.astype(np.int32 if labels else np.float32), geometry)
