"""Algebra of displacement fields: composition and the exponential of a stationary velocity."""

import jax
from jaxtyping import Array, Float

from drivenmorph_jax.spatial.materialise import materialise
from drivenmorph_jax.spatial.sampling import warp


def compose(u: Float[Array, "*space n"], v: Float[Array, "*space n"]) -> Float[Array, "*space n"]:
    """(u ∘ v)(x) = v(x) + u(x + v(x)): the map that applies v first on the fixed grid, then u.

    Both in voxels of one grid. Beyond the grid u continues with its edge value.
    """
    return materialise(v + warp(u, v, boundary="edge"))


def exponential(
    velocity: Float[Array, "*space n"], *, squarings: int = 6
) -> Float[Array, "*space n"]:
    """Displacement of the flow of a stationary velocity at time 1, by scaling and squaring.

    exp(v) = exp(v / 2^n) composed with itself n times (Arsigny et al., MICCAI 2006). Each of the
    n small steps should stay well under a voxel: n >= log2(max |v|) + 2 is ample.

    Args:
      velocity: (D, H, W, 3) in voxels per unit time.
      squarings: n; 0 returns the velocity itself.
    """
    scaled = velocity * 0.5**squarings
    if squarings == 0:
        return scaled
    displacement, _ = jax.lax.scan(lambda u, _: (compose(u, u), None), scaled, None, squarings)
    return displacement
