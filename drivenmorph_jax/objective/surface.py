"""Distances between the surfaces of two binary masks, weighted by area, on unit voxels.

NumPy and SciPy, for evaluation. The surface of a mask lives on the corners of its voxels: each
corner with voxels inside and outside the mask among its eight is a surface element, its area
that of the marching-cubes triangles between the eight voxel centres. This is the definition of
DeepMind's surface-distance package, by which Learn2Reg scores HD95.
"""

import functools
import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def robust_hausdorff(
    mask_a: NDArray[np.bool_], mask_b: NDArray[np.bool_], *, percentile: float = 95.0
) -> float:
    """The larger of the two directed percentile distances between the masks' surfaces.

    The percentile is of surface area: the smallest distance within which that share of one
    surface lies from the other.

    Args:
      mask_a, mask_b: (D, H, W) booleans.
      percentile: in [0, 100]; 95 gives HD95.

    Returns:
      Distance in voxels (spacing 1 along each axis); inf where either mask is empty.

    Raises:
      ValueError: the shapes differ.
    """
    if mask_a.shape != mask_b.shape:
        raise ValueError(f"masks must have one shape, got {mask_a.shape} and {mask_b.shape}")
    if not (mask_a.any() and mask_b.any()):
        return float("inf")
    box = _bounding_box(mask_a | mask_b)
    area_a, area_b = _surface_area(mask_a[box]), _surface_area(mask_b[box])
    return max(
        _directed(area_a, area_b, percentile / 100), _directed(area_b, area_a, percentile / 100)
    )


def _bounding_box(mask) -> tuple[slice, ...]:
    return tuple(slice(index.min(), index.max() + 1) for index in np.nonzero(mask))


def _directed(area_from, area_to, share: float) -> float:
    """Distance from one surface to the other that `share` of the first one's area is within."""
    surface = area_from > 0
    distance = np.asarray(ndimage.distance_transform_edt(area_to == 0))[surface]
    order = np.argsort(distance)
    cumulative = np.cumsum(area_from[surface][order])
    index = np.searchsorted(cumulative / cumulative[-1], share)
    return float(distance[order][min(index, len(order) - 1)])


def _surface_area(mask) -> NDArray[np.float64]:
    """Area of the surface element at each voxel corner, 0 off the surface: one longer per axis."""
    padded = np.pad(mask, 1).astype(np.uint8)
    code = np.zeros([n + 1 for n in mask.shape], np.uint8)
    for bit, corner in enumerate(itertools.product((0, 1), repeat=3)):
        window = tuple(slice(start, start + n) for start, n in zip(corner, code.shape, strict=True))
        code |= padded[window] << np.uint8(bit)
    return _area_of_codes()[code]


@functools.cache
def _area_of_codes() -> NDArray[np.float64]:
    """Area of the element for each of the 256 ways in which eight voxels can be in the mask.

    Up to symmetry and exchange of inside and outside these are fourteen, told apart by the number
    of voxels inside (at most four), the number of face-adjacent pairs among them, and the most
    adjacent ones that any of them has. A voxel cut off by itself leaves a triangle of area √3/8, a
    pair a rectangle of √2/2, a face a square of 1; the rest are sums of these.
    """
    triangle, rectangle = 3**0.5 / 8, 2**0.5 / 2
    areas = {
        (0, 0, 0): 0.0,
        (1, 0, 0): triangle,
        (2, 0, 0): 2 * triangle,
        (2, 1, 1): rectangle,
        (3, 0, 0): 3 * triangle,
        (3, 1, 1): rectangle + triangle,
        (3, 2, 2): 0.5 + 3 * triangle,
        (4, 0, 0): 4 * triangle,
        (4, 2, 1): 2 * rectangle,
        (4, 2, 2): 0.5 + 4 * triangle,
        (4, 3, 2): rectangle + 4 * triangle,
        (4, 3, 3): 6 * triangle,
        (4, 4, 2): 1.0,
    }
    voxels = list(itertools.product((0, 1), repeat=3))
    table = np.zeros(256)
    for code in range(256):
        inside = [v for bit, v in enumerate(voxels) if code >> bit & 1]
        if len(inside) > 4:
            inside = [v for v in voxels if v not in inside]
        neighbours = [
            sum(sum(abs(i - j) for i, j in zip(v, w, strict=True)) == 1 for w in inside)
            for v in inside
        ]
        table[code] = areas[len(inside), sum(neighbours) // 2, max(neighbours, default=0)]
    return table
