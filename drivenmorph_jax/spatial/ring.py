"""Sampling of a volume that is split over devices, at coordinates that are split as well.

The slabs go round the ring of devices. Each device reads from the slab at hand what its own
coordinates want of it, so the answer is exact however far they reach, and no device ever holds the
whole volume.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Num

from drivenmorph_jax.spatial.split import AXIS, SPACE, SPREAD, map_slabs, ranks, slabs

# (slab, coordinates, first row of the slab in the volume) -> what the slab contributes to the
# answer, (*points, c): a sum over the slabs of a volume is the answer.
Contribution = Callable[[Any, Any, Any], Num[Array, "*points c"]]
# (rows of the slab, coordinates, first row) -> whether its contribution can be other than 0.
Touches = Callable[[int, Any, Any], Bool[Array, ""]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def gather_round(
    contribution: Contribution,
    touches: Touches,
    volume: Num[Array, "*space c"],
    coordinates: Float[Array, "*out n"],
) -> Num[Array, "*out c"]:
    """Σ over the slabs of `contribution`, in slabs again.

    Reverse-mode derivatives only: autodiff would keep every slab that has come by, which is the
    whole volume on each device. The backward pass goes round again instead, and the cotangent of a
    slab rides with it.

    Args:
      contribution, touches: see their types.
      volume: (D, H, W, C), split.
      coordinates: (D', H', W', 3), split.
    """

    def on_slab(rank, slab, coordinates):
        rows = slab.shape[AXIS]
        like = jax.eval_shape(contribution, slab, coordinates, jnp.int32(0))

        def visit(carry, distance):
            slab, total = carry
            first = _owner(rank, distance) * rows
            total = lax.cond(
                touches(rows, coordinates, first),
                lambda: total + contribution(slab, coordinates, first),
                lambda: total,
            )
            return (_pass_on(slab), total), None

        start = (slab, jnp.zeros(like.shape, like.dtype))
        (_, total), _ = lax.scan(visit, start, jnp.arange(lax.axis_size(SPACE)))
        return total

    return _over_slabs(on_slab, volume, coordinates)


def _forward(contribution, touches, volume, coordinates):
    return gather_round(contribution, touches, volume, coordinates), (volume, coordinates)


def _backward(contribution, touches, saved, cotangent):
    def on_slab(rank, slab, coordinates, cotangent):
        rows = slab.shape[AXIS]

        def visit(carry, distance):
            slab, to_slab, to_coordinates = carry
            first = _owner(rank, distance) * rows

            def add():
                _, pull = jax.vjp(lambda s, x: contribution(s, x, first), slab, coordinates)
                more_to_slab, more_to_coordinates = pull(cotangent)
                return to_slab + more_to_slab, to_coordinates + more_to_coordinates

            to_slab, to_coordinates = lax.cond(
                touches(rows, coordinates, first), add, lambda: (to_slab, to_coordinates)
            )
            return (_pass_on(slab), _pass_on(to_slab), to_coordinates), None

        start = (slab, jnp.zeros_like(slab), jnp.zeros_like(coordinates))
        # After the last visit every slab's cotangent is back with its owner.
        (_, to_slab, to_coordinates), _ = lax.scan(visit, start, jnp.arange(lax.axis_size(SPACE)))
        return to_slab, to_coordinates

    return _over_slabs(on_slab, *saved, cotangent)


gather_round.defvjp(_forward, _backward)


def _over_slabs(function, *volumes):
    """`function(rank, *slabs)` on every device."""
    spec = slabs(4)
    in_specs = (SPREAD, *[spec] * len(volumes))
    return map_slabs(function, in_specs=in_specs, out_specs=spec)(ranks(), *volumes)


def _owner(rank, distance):
    """Whose slab is at hand after so many steps."""
    return (rank[0] + distance) % lax.axis_size(SPACE)


def _pass_on(slab):
    count = lax.axis_size(SPACE)
    return lax.ppermute(slab, SPACE, [((i + 1) % count, i) for i in range(count)])
