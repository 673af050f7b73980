"""Random smooth invertible displacements with a known inverse, in NumPy."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage


class Deformation(NamedTuple):
    """A displacement and its inverse, both (D, H, W, 3) float32 in voxels, pull-back.

    inverse(x + forward(x)) = -forward(x); the other way round up to interpolation.
    """

    forward: Float[ndarray, "d h w 3"]
    inverse: Float[ndarray, "d h w 3"]


def random_deformation(
    rng: np.random.Generator, shape: tuple[int, int, int], *, size: float
) -> Deformation:
    """A diffeomorphism of the box onto itself, the identity on its border.

    It is the exponential of a band-limited random velocity, worked out on half the resolution
    (where it is smooth); `forward` is then corrected on the full grid by Newton steps.

    Args:
      rng: source of randomness.
      shape: voxels of the grid.
      size: root mean square length of the velocity in the middle of the box, as a fraction of it.
    """
    depth, height, width = (max(4, n // 2) for n in shape)
    coarse = (depth, height, width)
    velocity = _random_velocity(rng, coarse) * (size * np.array(coarse, np.float32))
    forward = _upsample(_exponential(velocity), shape)
    inverse = _upsample(_exponential(-velocity), shape)
    for _ in range(2):
        forward = _newton_step(forward, inverse)
    return Deformation(forward, inverse)


def _random_velocity(
    rng: np.random.Generator, shape: tuple[int, int, int]
) -> Float[ndarray, "d h w 3"]:
    """A smooth field of unit root mean square length that falls to zero at the border."""
    axes = [np.linspace(0, 1, n, dtype=np.float32) for n in shape]
    window = np.ones(shape, np.float32)
    for axis, t in enumerate(axes):
        # Flat in the middle: the brain moves as a whole too, not only its centre.
        window *= np.expand_dims(1 - (2 * t - 1) ** 6, tuple({0, 1, 2} - {axis}))
    field = np.zeros((*shape, 3), np.float32)
    for modes, weight in ((3, 1.0), (6, 0.35)):
        # Products of cosines: three small matrices per component, whatever the grid.
        bases = [np.cos(np.pi * np.outer(t, np.arange(modes))) for t in axes]
        coefficients = rng.normal(size=(modes, modes, modes, 3))
        part = np.einsum("abcv,ia,jb,kc->ijkv", coefficients, *bases, optimize=True)
        field += weight * (part / np.sqrt((part**2).sum(-1).mean())).astype(np.float32)
    field /= np.sqrt((field**2).sum(-1).mean())
    return field * window[..., None]


def _exponential(
    velocity: Float[ndarray, "d h w 3"], squarings: int = 6
) -> Float[ndarray, "d h w 3"]:
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = displacement + _sample(displacement, displacement)
    return displacement


def _sample(
    field: Float[ndarray, "d h w 3"], displacement: Float[ndarray, "d h w 3"]
) -> Float[ndarray, "d h w 3"]:
    """field(x + displacement(x)), trilinear."""
    shape = field.shape[:3]
    where = np.moveaxis(displacement, -1, 0) + np.indices(shape, dtype=np.float32)
    parts = [
        ndimage.map_coordinates(field[..., i], where, order=1, mode="nearest") for i in (0, 1, 2)
    ]
    return np.stack(parts, axis=-1)


def _newton_step(
    forward: Float[ndarray, "d h w 3"], inverse: Float[ndarray, "d h w 3"]
) -> Float[ndarray, "d h w 3"]:
    """One Newton step on e(x) = forward(x) + inverse(x + forward(x)) = 0.

    The slope of e in forward(x) is I + ∇inverse(x + forward(x)), and its inverse, where the two are
    nearly inverse to each other, I + ∇forward(x): no system has to be solved.
    """
    error = forward + _sample(inverse, forward)
    slopes = np.stack([np.gradient(forward, axis=axis) for axis in (0, 1, 2)], axis=-1)
    return forward - error - np.einsum("...ij,...j->...i", slopes, error)


def _upsample(
    field: Float[ndarray, "d h w 3"], shape: tuple[int, int, int]
) -> Float[ndarray, "d h w 3"]:
    """The field on a finer grid over the same box, lengths in voxels of that grid."""
    ratio = [(n - 1) / (m - 1) for n, m in zip(shape, field.shape[:3], strict=True)]
    where = np.stack(
        np.meshgrid(
            *(np.linspace(0, m - 1, n) for n, m in zip(shape, field.shape[:3], strict=True)),
            indexing="ij",
        )
    )
    parts = [
        ndimage.map_coordinates(field[..., i] * ratio[i], where, order=2, mode="nearest")
        for i in (0, 1, 2)
    ]
    return np.stack(parts, axis=-1).astype(np.float32)
