"""From a module that gives a stationary velocity to a network that gives a displacement."""

import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from drivenmorph_jax.model.result import Registration
from drivenmorph_jax.model.seen import brain_pyramid
from drivenmorph_jax.spatial.fields import exponential
from drivenmorph_jax.spatial.resize import upsample_displacement
from drivenmorph_jax.training.network import Network

SQUARINGS = 7
"""Steps of the integration, as VoxelMorph has it."""

# Parameters do not depend on the size of the images.
_SHAPE = (16, 16, 16)


def flow_network(module: nn.Module, description: dict[str, Any]) -> Network:
    """φ = exp(v), v = module(fixed, moving) in voxels of half the resolution.

    Args:
      module: (D, H, W, 2), each image with mean square 1 in its brain, to (D/2, H/2, W/2, 3).
      description: of the architecture.
    """

    def init(key: PRNGKeyArray) -> Any:
        return jax.jit(module.init)(key, jnp.zeros((*_SHAPE, 2)))["params"]

    def apply(
        params: Any, fixed: Float[Array, "d h w 1"], moving: Float[Array, "d h w 1"]
    ) -> Registration:
        scaled = [brain_pyramid(image, 1)[0][0] for image in (fixed, moving)]
        velocity = module.apply({"params": params}, jnp.concatenate(scaled, axis=-1))
        displacement = exponential(jnp.asarray(velocity), squarings=SQUARINGS)
        return Registration(upsample_displacement(displacement, fixed.shape[:3]), ())

    plain = json.loads(json.dumps({**description, "squarings": SQUARINGS}))
    return Network(init, apply, plain)
