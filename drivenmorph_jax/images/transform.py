"""A spatial transform as a value: affines and displacement fields, one after another.

It takes points of the fixed world to points of the moving world (RAS mm), and so pulls images
from the moving grid onto the fixed one, with a single interpolation for the whole chain.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.images.resample import Grid
from drivenmorph_jax.images.volume import Volume
from drivenmorph_jax.images.world import Slab, sample_volume, slabs, transform_points

# Grids this close, in mm at their corners, are one: header affines are float32.
_SAME_GRID = 1e-4


@dataclass(frozen=True, eq=False)
class Affine:
    """x ↦ matrix·x.

    Attributes:
        matrix: (4, 4), fixed world to moving world, RAS mm.
    """

    matrix: Float[ndarray, "4 4"]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"an affine is a finite (4, 4) matrix, not {matrix.shape}: {matrix}")
        _keep(self, "matrix", matrix)

    def __call__(self, points: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
        return apply_affine(self.matrix, points)


@dataclass(frozen=True, eq=False)
class Field:
    """x ↦ x + u(x), u interpolated linearly, and held constant beyond its grid.

    Attributes:
        displacement: (X, Y, Z, 3) float32, RAS mm.
        affine: (4, 4) of its grid, voxels to RAS mm.
    """

    displacement: Float[ndarray, "x y z 3"]
    affine: Float[ndarray, "4 4"]

    def __post_init__(self) -> None:
        displacement = np.asarray(self.displacement, dtype=np.float32)
        if displacement.ndim != 4 or displacement.shape[-1] != 3:
            raise ValueError(f"displacement must be (X, Y, Z, 3), not {displacement.shape}")
        if not np.isfinite(displacement).all():
            raise ValueError("displacement holds NaN or infinite vectors")
        _keep(self, "displacement", displacement)
        _keep(self, "affine", np.array(self.affine, dtype=np.float64))

    def __call__(self, points: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
        return transform_points(points, self.displacement, self.affine)

    @property
    def grid(self) -> Grid:
        """Where the vectors lie."""
        x, y, z = self.displacement.shape[:3]
        return Grid((x, y, z), self.affine)


@dataclass(frozen=True, eq=False)
class Transform:
    """A chain of affines and fields; the empty one is the identity.

    Attributes:
        parts: in the order in which a point of the fixed world goes through them.
    """

    parts: tuple[Affine | Field, ...] = ()

    @staticmethod
    def from_matrix(matrix: Float[ndarray, "4 4"]) -> "Transform":
        """An affine, fixed world to moving world, RAS mm."""
        return Transform((Affine(matrix),))

    @staticmethod
    def from_field(
        displacement: Float[ndarray, "x y z 3"], affine: Float[ndarray, "4 4"]
    ) -> "Transform":
        """A pull-back displacement in RAS mm on the grid of `affine`."""
        return Transform((Field(displacement, affine),))

    def __call__(self, points: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
        """Points of the fixed world to points of the moving world, RAS mm, float64."""
        moved = np.asarray(points, dtype=np.float64)
        for part in self.parts:
            moved = part(moved)
        return moved

    def then(self, other: "Transform") -> "Transform":
        """The chain that takes a point through this one first, through `other` next."""
        return Transform(self.parts + other.parts)

    def warp(self, volume: Volume, grid: Grid, *, order: int = 1) -> Volume:
        """A moving image on a fixed grid.

        Args:
            volume: the moving image, or a label map (with `order=0`).
            grid: of the fixed image.
            order: 0 nearest, 1 linear, 3 cubic spline. Outside the image is zero.

        Returns:
            The image on the grid; dtype kept for order 0, else float32.
        """
        return sample_volume(volume, grid.shape, grid.affine, self._moved(grid), order=order)

    def displacement(self, grid: Grid) -> Float[ndarray, "x y z 3"]:
        """The whole chain as one pull-back displacement on a grid, RAS mm, float32."""
        result = np.empty((*grid.shape, 3), dtype=np.float32)
        moved = self._moved(grid)
        for (planes, points), (_, there) in zip(slabs(*grid), moved, strict=True):
            result[planes] = there - points
        return result

    def on_grid(self, grid: Grid) -> "Transform":
        """The whole chain as one field: equal to it at the grid's voxels, linear between."""
        if len(self.parts) == 1 and self.grid is not None and same_grid(self.grid, grid):
            return self
        return Transform.from_field(self.displacement(grid), grid.affine)

    @property
    def matrix(self) -> Float[ndarray, "4 4"] | None:
        """The product where all parts are affine, None where one is a field."""
        product = np.eye(4)
        for part in self.parts:
            if isinstance(part, Field):
                return None
            product = part.matrix @ product
        return product

    @property
    def grid(self) -> Grid | None:
        """Where the fixed image's voxels lie, as far as the first part tells."""
        first = self.parts[0] if self.parts else None
        return first.grid if isinstance(first, Field) else None

    def _moved(self, grid: Grid) -> Iterator[Slab]:
        """The grid's voxels in the moving world."""
        first = self.parts[0] if self.parts else None
        if isinstance(first, Field) and same_grid(first.grid, grid):
            # Its vectors are at hand, without interpolation.
            rest = Transform(self.parts[1:])
            for planes, points in slabs(*grid):
                yield planes, rest(points + first.displacement[planes])
        else:
            for planes, points in slabs(*grid):
                yield planes, self(points)


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids have their voxels in the same places."""
    if tuple(one.shape) != tuple(other.shape):
        return False
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(one.shape) - 1)
    apart = apply_affine(one.affine, corners) - apply_affine(other.affine, corners)
    return bool(np.abs(apart).max() <= _SAME_GRID)


def _keep(value: Affine | Field, name: str, array: ndarray) -> None:
    """Set an attribute of a frozen dataclass, as an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    object.__setattr__(value, name, view)
