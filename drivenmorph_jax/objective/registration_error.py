"""Registration error, where the true map is known."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from drivenmorph_jax.spatial.fields import compose
from drivenmorph_jax.spatial.masks import masked_mean, require_same_shape

_SMOOTH = 1e-3  # voxels: the distance has a gradient at 0 as well


class KnownMaps(NamedTuple):
    """Where two images of one subject came from: fixed(x) = subject(x + f(x)), moving likewise.

    Attributes:
      fixed, moving: f and m, (D, H, W, 3) voxels.
      known: 1, or 0 where the two are not of one subject: there nothing is known, nor counted.
    """

    fixed: Float[Array, "*space n"]
    moving: Float[Array, "*space n"]
    known: Float[Array, ""]


def registration_error(
    displacement: Float[Array, "*space n"], truth: KnownMaps, mask: Bool[Array, "*space"]
) -> Float[Array, ""]:
    """Mean distance, in voxels, of the place that a registration finds from the true one.

    The registration u is right at x where both ways lead to one place of the subject:
    (m ∘ u)(x) = u(x) + m(x + u(x)) = f(x). The distance is measured in the subject.

    Args:
      displacement: u, (D, H, W, 3), in voxels.
      truth: the maps that made the images, on the same grid.
      mask: (D, H, W), where it counts: the brain of the fixed image.

    Raises:
      ValueError: the shapes differ.
    """
    require_same_shape("displacement", displacement, "the fixed map", truth.fixed)
    require_same_shape("displacement", displacement, "the moving map", truth.moving)
    off = compose(truth.moving, displacement) - truth.fixed
    distance = jnp.sqrt((off**2).sum(axis=-1, keepdims=True) + _SMOOTH**2)
    return truth.known * masked_mean(distance, mask)[0]
