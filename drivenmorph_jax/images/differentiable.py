"""Between transforms that are read and written, and maps that JAX differentiates through."""

import jax.numpy as jnp
import numpy as np

from drivenmorph_jax.images.transform import Affine, Field, Transform
from drivenmorph_jax.spatial import world_map
from drivenmorph_jax.spatial.world_map import WorldMap


def to_world_map(transform: Transform) -> WorldMap:
    """A transform, as from `read_transform`, for use under `jit`, `vmap` and `grad`."""
    return WorldMap(
        tuple(
            world_map.Linear(jnp.asarray(part.matrix, jnp.float32))
            if isinstance(part, Affine)
            else world_map.Field(
                jnp.asarray(part.displacement), jnp.asarray(part.affine, jnp.float32)
            )
            for part in transform.parts
        )
    )


def from_world_map(mapping: WorldMap) -> Transform:
    """The same map as a value that `write_transform` saves.

    Raises:
        ValueError: it is not finite.
    """
    return Transform(
        tuple(
            Affine(np.asarray(part.matrix, np.float64))
            if isinstance(part, world_map.Linear)
            else Field(np.asarray(part.displacement), np.asarray(part.affine, np.float64))
            for part in mapping.parts
        )
    )
