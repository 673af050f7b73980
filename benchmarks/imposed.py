"""Random smooth deformations of known size, proved invertible, and where they take each point."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import ndarray
from scipy import ndimage

from drivenmorph_jax.objective.metrics import ndv_percent
from drivenmorph_jax.spatial.fields import exponential
from drivenmorph_jax.spatial.jacobian import jacobian_determinant

LENGTHS = (25.0, 40.0)
"""mm: correlation lengths are drawn between these, unless said."""
PEAK, MEAN = 12.0, 4.0
"""mm: the largest and the mean displacement in the brain are at least these."""
# Velocities are drawn on a grid as much coarser, with cells around it that the spline needs.
_COARSER, _MARGIN = 4, 2
_SQUARINGS = 7
_DEVIATION = 2.0  # mm, of the velocities at first: less than the bounds ask for.


class Imposed(NamedTuple):
    """A deformation ψ(y) = y + w(y): the deformed image is image ∘ ψ.

    Attributes:
      displacement: w, (D, H, W, 3), voxels.
      length: mm, where the correlation of the velocity falls to 1/e.
      peak, mean: mm, of |w| in the brain.
      determinant: the smallest det ∂ψ/∂y of the grid, above 0.
    """

    displacement: Float[ndarray, "d h w 3"]
    length: float
    peak: float
    mean: float
    determinant: float


def impose(
    seed: int,
    brain: Bool[ndarray, "d h w"],
    spacing: float,
    *,
    bounds: tuple[float, float] = (PEAK, MEAN),
    lengths: tuple[float, float] = LENGTHS,
) -> Imposed:
    """The deformation of a seed, as small as the bounds allow.

    ψ = exp(v), v white noise smoothed by a Gaussian of half the correlation length. It is returned
    only if every determinant of the digital map is positive, by central differences and by all the
    one-sided ones that `ndv_percent` is made of.

    Args:
      seed: of the noise and of its correlation length.
      brain: where the size counts.
      spacing: mm per voxel, along all axes.
      bounds: of peak and mean, mm.
      lengths: between which the correlation length is drawn, mm.

    Raises:
      ValueError: the map folds.
    """
    rng = np.random.default_rng(seed)
    length = float(rng.uniform(*lengths))
    velocity = smooth_noise(rng, brain.shape, length / spacing) * (_DEVIATION / spacing)
    inside = np.argwhere(brain).T
    while True:
        flow = _flow(velocity)
        sizes = np.linalg.norm(_at_fine(flow, inside), axis=-1) * spacing
        peak, mean = float(sizes.max()), float(sizes.mean())
        lacking = max(bounds[0] / peak, bounds[1] / mean)
        if lacking <= 1:
            break
        velocity = velocity * (1.01 * lacking)
    displacement = _at_fine(flow, np.indices(brain.shape))
    smallest = float(jacobian_determinant(jnp.asarray(displacement)).min())
    if smallest <= 0 or ndv_percent(displacement) > 0:
        raise ValueError(f"the deformation of seed {seed} folds: its least det is {smallest:.3f}")
    return Imposed(displacement, length, peak, mean, smallest)


def smooth_noise(
    rng: np.random.Generator, shape: Sequence[int], length: float
) -> Float[ndarray, "*coarse 3"]:
    """A random field of unit deviation per component, on the coarse grid of a shape.

    Its correlation at distance r is exp(-r²/length²), length in voxels of the shape.
    """
    coarse = [-(-n // _COARSER) + 2 * _MARGIN for n in shape]
    noise = rng.normal(size=(*coarse, 3))
    sigma = length / 2 / _COARSER
    smooth = ndimage.gaussian_filter(noise, sigma, axes=(0, 1, 2), mode="wrap")
    # Of the filter, not of this sample: a field is not made larger for being small by chance.
    return (smooth * (2 * np.sqrt(np.pi) * sigma) ** 1.5).astype(np.float32)


def points_in(
    rng: np.random.Generator, brain: Bool[ndarray, "d h w"], count: int
) -> Float[ndarray, "n 3"]:
    """Different voxels of the brain."""
    inside = np.argwhere(brain)
    return inside[rng.choice(len(inside), count, replace=False)].astype(np.float64)


def origins(
    displacement: Float[ndarray, "d h w 3"], points: Float[ndarray, "n 3"]
) -> Float[ndarray, "n 3"]:
    """y with y + w(y) = p for every point p, by Newton's method on the interpolated field.

    Raises:
      ValueError: it does not converge to a thousandth of a voxel.
    """
    places = points - _at(displacement, points)
    for _ in range(30):
        error = places + _at(displacement, places) - points
        if np.abs(error).max() < 1e-3:
            return places
        places = places - np.linalg.solve(_slopes(displacement, places), error[..., None])[..., 0]
    raise ValueError(f"points without an origin: {np.abs(error).max():.3f} voxels are left")


@jax.jit
def _flow(velocity: Float[Array, "*coarse 3"]) -> Float[Array, "*coarse 3"]:
    """exp(v); both in fine voxels, on the coarse grid."""
    return _COARSER * exponential(velocity / _COARSER, squarings=_SQUARINGS)


def _at_fine(flow: Float[Array, "*coarse 3"], voxels: ndarray) -> Float[ndarray, "*points 3"]:
    """A field of the coarse grid at voxels of the fine one, (3, …), by cubic splines."""
    where = (voxels + 0.5) / _COARSER - 0.5 + _MARGIN
    parts = [
        ndimage.map_coordinates(component, where, order=3, mode="nearest")
        for component in np.moveaxis(np.asarray(flow), -1, 0)
    ]
    return np.stack(parts, axis=-1).astype(np.float32)


def _at(field: Float[ndarray, "d h w 3"], places: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    parts = [
        ndimage.map_coordinates(component, places.T, order=1, mode="nearest")
        for component in np.moveaxis(field, -1, 0)
    ]
    return np.stack(parts, axis=-1).astype(np.float64)


def _slopes(field: Float[ndarray, "d h w 3"], places: Float[ndarray, "n 3"], step: float = 0.5):
    """∂ψ/∂y at the places, (n, 3, 3)."""
    columns = [
        (_at(field, places + step * axis) - _at(field, places - step * axis)) / (2 * step)
        for axis in np.eye(3)
    ]
    return np.stack(columns, axis=-1) + np.eye(3)
