"""A procedural brain as a function of continuous coordinates.

Structures are implicit surfaces, so anatomy can be read anywhere without interpolation: a deformed
brain is the same anatomy read at deformed points, exactly. Coordinates are normalised: the brain
fills about [-1, 1] on each axis; axes are right, anterior, superior.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32
from numpy import ndarray


class Blob(NamedTuple):
    """An ellipsoid on both sides, mirrored, unless `left == right`; `centre` is the right one's."""

    left: int
    right: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    mean: float


# Later structures lie over earlier ones. Values and sides as in FreeSurfer; means as in T1.
BLOBS = (
    Blob(2, 41, (0.08, 0.00, 0.26), (0.17, 0.42, 0.07), 0.92),  # corpus callosum, as white matter
    Blob(8, 47, (0.27, -0.55, -0.62), (0.38, 0.36, 0.30), 0.60),
    Blob(7, 46, (0.25, -0.52, -0.60), (0.22, 0.20, 0.15), 0.88),
    Blob(16, 16, (0.00, -0.18, -0.58), (0.15, 0.17, 0.38), 0.84),
    Blob(28, 60, (0.12, -0.12, -0.16), (0.12, 0.15, 0.10), 0.80),
    Blob(4, 43, (0.16, 0.04, 0.18), (0.09, 0.40, 0.12), 0.22),
    Blob(10, 49, (0.16, -0.12, 0.03), (0.13, 0.20, 0.14), 0.74),
    Blob(11, 50, (0.27, 0.24, 0.16), (0.09, 0.22, 0.13), 0.62),
    Blob(12, 51, (0.42, 0.14, 0.00), (0.10, 0.26, 0.17), 0.66),
    Blob(13, 52, (0.31, 0.08, -0.02), (0.07, 0.16, 0.12), 0.80),
    Blob(26, 58, (0.17, 0.36, -0.06), (0.09, 0.10, 0.08), 0.61),
    Blob(17, 53, (0.40, -0.20, -0.25), (0.10, 0.27, 0.10), 0.58),
    Blob(5, 44, (0.50, -0.20, -0.22), (0.06, 0.22, 0.08), 0.22),
    Blob(18, 54, (0.38, 0.11, -0.30), (0.11, 0.11, 0.10), 0.57),
    Blob(14, 14, (0.00, -0.08, 0.02), (0.06, 0.18, 0.14), 0.22),
    Blob(15, 15, (0.00, -0.40, -0.52), (0.09, 0.08, 0.13), 0.22),
)
HULL_CENTRE = np.array([0.0, 0.04, 0.14])
HULL_RADII = np.array([0.86, 0.94, 0.78])
FLUID, CORTEX, WHITE = 0.20, 0.60, 0.92
FISSURE = 0.015


class Anatomy(NamedTuple):
    """The random numbers of one brain.

    Attributes:
      hull: (3,) radii of the cerebrum.
      waves: (k, 3) and (k,) wave vectors and phases on the sphere whose zero lines are the sulci.
      phases: see waves.
      centres: (2, n, 3) of the blobs, left side first, mirrored to positive x.
      radii: (2, n, 3) of the blobs.
    """

    hull: Float[ndarray, "3"]
    waves: Float[ndarray, "k 3"]
    phases: Float[ndarray, " k"]
    centres: Float[ndarray, "2 n 3"]
    radii: Float[ndarray, "2 n 3"]


def draw_anatomy(rng: np.random.Generator, *, variation: float = 1.0) -> Anatomy:
    """A random brain; its folds are its own, its nuclei vary by `variation` times a few percent."""
    directions = rng.normal(size=(14, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centres = np.array([blob.centre for blob in BLOBS])
    radii = np.array([blob.radii for blob in BLOBS])
    # Half of the variation is common to both sides, as in real brains.
    shape = (len(BLOBS), 3)
    shift = rng.normal(size=(1, *shape)) + rng.normal(size=(2, *shape))
    growth = rng.normal(size=(1, *shape)) + rng.normal(size=(2, *shape))
    return Anatomy(
        hull=HULL_RADII * np.exp(0.02 * variation * rng.normal(size=3)),
        waves=directions * rng.uniform(6.0, 11.0, size=(14, 1)),
        phases=rng.uniform(0, 2 * np.pi, size=14),
        centres=centres + 0.010 * variation * shift * (centres != 0),
        radii=radii * np.exp(0.05 * variation * growth),
    )


def render(
    anatomy: Anatomy, points: Float[ndarray, "n 3"], *, softness: float
) -> tuple[Float[ndarray, " n"], Int32[ndarray, " n"]]:
    """Intensity and label at normalised points.

    Args:
      anatomy: the brain.
      points: (n, 3) normalised coordinates.
      softness: width over which two structures blend (about one voxel, in normalised units).

    Returns:
      Intensity, about 0.2 (fluid) to 0.9 (white matter), exactly 0 outside the brain; labels,
      0 outside and in the fluid around the cortex.
    """
    intensity = np.zeros(len(points), np.float32)
    labels = np.zeros(len(points), np.int32)
    _render_cerebrum(anatomy, points, softness, intensity, labels)
    for index, blob in enumerate(BLOBS):
        for side, value in enumerate((blob.left, blob.right)):
            sign = 1.0 if side else -1.0
            centre = anatomy.centres[side, index] * np.array([sign, 1.0, 1.0])
            radii = anatomy.radii[side, index]
            reach = radii + softness
            near = np.flatnonzero((np.abs(points - centre) < reach).all(axis=1))
            r = np.linalg.norm((points[near] - centre) / radii, axis=1)
            _paint(near, (r - 1) * radii.min(), blob.mean, value, softness, intensity, labels)
            if blob.left == blob.right:
                break
    return intensity, labels


def _render_cerebrum(
    anatomy: Anatomy,
    points: Float[ndarray, "n 3"],
    softness: float,
    intensity: Float[ndarray, " n"],
    labels: Int32[ndarray, " n"],
) -> None:
    """Fluid, then the folded cortex, then the white matter of both hemispheres, in place."""
    scaled = (points - HULL_CENTRE) / anatomy.hull
    r = np.linalg.norm(scaled, axis=1)
    size = anatomy.hull.min()
    inside = np.flatnonzero((r - 1) * size < softness)
    points, scaled, r = points[inside], scaled[inside], r[inside]
    direction = scaled / np.maximum(r, 1e-6)[:, None]
    wave = np.cos(direction @ anatomy.waves.T + anatomy.phases).mean(axis=1)
    wave *= np.sqrt(2 * len(anatomy.phases))
    # Sulci run along the zero lines of the wave: narrow at the surface, wider in white matter.
    surface = 1 - 0.16 * np.exp(-((wave / 0.25) ** 2))
    inner = 0.84 - 0.18 * np.exp(-((wave / 0.55) ** 2))
    _paint(inside, (r - 1) * size, FLUID, 0, softness, intensity, labels)
    for sign, cortex, white in ((-1.0, 3, 2), (1.0, 42, 41)):
        medial = FISSURE - sign * points[:, 0]
        ribbon = np.maximum((r - surface) * size, medial)
        core = np.maximum((r - inner) * size, medial + 0.12)
        _paint(inside, ribbon, CORTEX, cortex, softness, intensity, labels)
        _paint(inside, core, WHITE, white, softness, intensity, labels)


def _paint(
    where: ndarray,
    distance: Float[ndarray, " m"],
    mean: float,
    value: int,
    softness: float,
    intensity: Float[ndarray, " n"],
    labels: Int32[ndarray, " n"],
) -> None:
    """Lays a structure (distance < 0) over what is there, in place, with a soft edge."""
    share = np.clip(0.5 - distance / softness, 0, 1)
    intensity[where] += share * (mean - intensity[where])
    labels[where[distance < 0]] = value
