"""Inverse consistency: how far two displacements are from undoing each other."""

from jaxtyping import Array, Float

from drivenmorph_jax.spatial.fields import compose
from drivenmorph_jax.spatial.masks import require_same_shape


def inverse_consistency(
    forward: Float[Array, "*space n"], backward: Float[Array, "*space n"]
) -> Float[Array, ""]:
    """½ ⟨|b ∘ f|² + |f ∘ b|²⟩, in voxels²: 0 when each map undoes the other.

    Christensen and Johnson, IEEE TMI 2001, with (b ∘ f)(x) = f(x) + b(x + f(x)).

    Args:
      forward: (D, H, W, 3), in voxels: pulls the moving image back onto the fixed one.
      backward: the same with the images exchanged, on the same grid.

    Raises:
      ValueError: the shapes differ.
    """
    require_same_shape("forward", forward, "backward", backward)
    there_and_back = (compose(backward, forward) ** 2).sum(axis=-1).mean()
    back_and_there = (compose(forward, backward) ** 2).sum(axis=-1).mean()
    return 0.5 * (there_and_back + back_and_there)
