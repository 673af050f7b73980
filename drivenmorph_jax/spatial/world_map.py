"""Maps between the worlds of two images, in millimetres, as differentiable values.

The counterpart in JAX of `drivenmorph_jax.images.Transform`, which reads and writes files: a
pytree, so that `jit`, `vmap` and `grad` work through all of it. World coordinates are RAS mm; a map
takes points of the fixed world to points of the moving world, and so pulls images back.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from drivenmorph_jax.spatial.affine import transform_points
from drivenmorph_jax.spatial.inverse import invert
from drivenmorph_jax.spatial.sampling import identity_grid, sample


class Linear(NamedTuple):
    """x ↦ matrix·x.

    Attributes:
      matrix: (4, 4), RAS mm.
    """

    matrix: Float[Array, "4 4"]


class Field(NamedTuple):
    """x ↦ x + u(x), u interpolated linearly, and held constant beyond its grid.

    Attributes:
      displacement: (X, Y, Z, 3), RAS mm.
      affine: (4, 4) of its grid, voxels to RAS mm.
    """

    displacement: Float[Array, "x y z 3"]
    affine: Float[Array, "4 4"]


class WorldMap(NamedTuple):
    """A chain of linear maps and fields; the empty one is the identity.

    Attributes:
      parts: in the order in which a point of the fixed world goes through them.
    """

    parts: tuple[Linear | Field, ...] = ()

    def __call__(self, points: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
        """Points of the fixed world to points of the moving world, RAS mm."""
        for part in self.parts:
            if isinstance(part, Linear):
                points = transform_points(part.matrix, points)
            else:
                points = points + _displacement_at(part, points)
        return points

    def then(self, other: "WorldMap") -> "WorldMap":
        """The chain that takes a point through this one first, through `other` next."""
        return WorldMap(self.parts + other.parts)

    def inverse(self) -> "WorldMap":
        """Points of the moving world to points of the fixed world.

        A field's inverse lies on the grid of the field: exact at its voxels, linear between; its
        derivative is that of the implicit function. Where a field folds there is no inverse, and
        what stands there means nothing.
        """
        return WorldMap(tuple(_inverse(part) for part in reversed(self.parts)))

    def pull_back(
        self,
        image: Num[Array, "u v w c"],
        image_affine: Float[Array, "4 4"],
        shape: Sequence[int],
        affine: Float[Array, "4 4"],
        *,
        order: Literal[0, 1] = 1,
    ) -> Num[Array, "x y z c"]:
        """A moving image on a fixed grid, interpolated once.

        Args:
          image: the moving image, or labels with `order=0`; 0 beyond its grid.
          image_affine: (4, 4), voxels of the moving image to RAS mm.
          shape, affine: of the fixed grid.
          order: 1 linear, 0 nearest.
        """
        there = self(transform_points(affine, identity_grid(shape, affine.dtype)))
        return sample(image, transform_points(jnp.linalg.inv(image_affine), there), order=order)


def from_voxels(displacement: Float[Array, "d h w 3"], affine: Float[Array, "4 4"]) -> Field:
    """The displacement of `register`, in voxels, as a field in mm.

    Args:
      displacement: in voxels of the grid.
      affine: (4, 4) of the grid on which the pair was registered, voxels to RAS mm.
    """
    return Field(displacement @ affine[:3, :3].T, affine)


def _displacement_at(field: Field, points):
    voxels = transform_points(jnp.linalg.inv(field.affine), points)
    return sample(field.displacement, voxels, boundary="edge")


def _inverse(part: Linear | Field) -> Linear | Field:
    if isinstance(part, Linear):
        return Linear(jnp.linalg.inv(part.matrix))
    voxels = part.displacement @ jnp.linalg.inv(part.affine)[:3, :3].T
    return from_voxels(invert(voxels).displacement, part.affine)
