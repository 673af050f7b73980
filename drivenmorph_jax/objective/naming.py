"""How well structures are named: cross-entropy and Dice of probabilities."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# A structure with fewer voxels than this in an image says nothing there.
_FEW = 20


class Naming(NamedTuple):
    """The two terms; lower is better for the first, higher for the second."""

    cross_entropy: Float[Array, ""]
    dice: Float[Array, ""]


def naming(
    logits: Float[Array, "d h w s1"],
    shares: Float[Array, "d h w s1"],
    mask: Float[Array, "d h w 1"],
) -> Naming:
    """Mean cross-entropy over the brain, and mean Dice over the structures that are there.

        Dice_k = 2 Σ_x p_k s_k / Σ_x (p_k² + s_k²)

    (Milletari et al., V-Net, 3DV 2016.)

    Args:
      logits: the background first.
      shares: of each voxel, what is the background and what each structure; their sum is 1.
      mask: 1 in the brain, else 0.
    """
    log_p = jax.nn.log_softmax(logits)
    cross_entropy = -(log_p * shares * mask).sum() / jnp.maximum(mask.sum(), 1)
    p, shares = (jnp.exp(log_p) * mask)[..., 1:], (shares * mask)[..., 1:]
    axes = (0, 1, 2)
    there = shares.sum(axes) > _FEW
    dice = 2 * (p * shares).sum(axes) / ((p**2 + shares**2).sum(axes) + 1e-3)
    return Naming(cross_entropy, (dice * there).sum() / jnp.maximum(there.sum(), 1))
