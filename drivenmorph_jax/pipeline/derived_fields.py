"""Everything that is written of a registration beside the map itself."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images import Grid, Volume, world_displacement
from drivenmorph_jax.images.world_jacobian import world_jacobian
from drivenmorph_jax.pipeline.force_fields import ForceFields, force_fields
from drivenmorph_jax.pipeline.inverse_map import Inverse, invert_map
from drivenmorph_jax.pipeline.registration import Registered


class Fields(NamedTuple):
    """Fields on the fixed image's own grid, and the inverse on the moving image's.

    Attributes:
        deformable: (X, Y, Z, 3) mm, RAS, d: the whole map is y = A(x + d(x)).
        deformable_jacobian: (X, Y, Z), det(I + ∂d/∂x).
        jacobian: (X, Y, Z), of the whole map: det A times the deformable part's.
        forces: what drove the finest level.
        inverse: of the whole map.
    """

    deformable: Float[ndarray, "x y z 3"]
    deformable_jacobian: Float[ndarray, "x y z"]
    jacobian: Float[ndarray, "x y z"]
    forces: ForceFields
    inverse: Inverse


def derive_fields(registered: Registered, fixed: Volume, moving: Volume) -> Fields:
    """The fields of a registration.

    Args:
        registered: of this pair.
        fixed, moving: the images that were registered.
    """
    working = registered.working.grid
    deformable = world_displacement(
        np.asarray(registered.deformable.displacement),
        working.affine,
        np.eye(4),
        fixed.shape,
        fixed.affine,
    )
    jacobian = world_jacobian(deformable, fixed.affine)
    return Fields(
        deformable,
        jacobian,
        # Central differences are linear: this is the Jacobian of the written field to rounding.
        np.float32(np.linalg.det(registered.matrix[:3, :3])) * jacobian,
        force_fields(registered.deformable, working, Grid(fixed.shape, fixed.affine)),
        invert_map(registered, fixed, moving),
    )
