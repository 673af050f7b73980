"""Rotations from which the search starts."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation


def _fan() -> np.ndarray:
    """(31, 3, 3) rotations about the identity, so that one is within some 20° of any up to 45°."""
    single = [np.radians(angle) * axis for angle in (-35, 35) for axis in np.eye(3)]
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)])
    double = [
        np.radians(24) * np.insert(pair, left_out, 0) for pair in signs for left_out in range(3)
    ]
    corners = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    triple = list(np.radians(20) * corners)
    return Rotation.from_rotvec(np.stack([np.zeros(3), *single, *double, *triple])).as_matrix()


_FAN = _fan()
# The even sign changes of three axes: an axis of inertia has no direction.
_SIGNS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def start_rotations(
    fixed_covariance: Float[Array, "3 3"], moving_covariance: Float[Array, "3 3"]
) -> Float[Array, "n 3 3"]:
    """Rotations about the identity, and the four that match the brains' principal axes.

    Args:
        fixed_covariance, moving_covariance: (3, 3) of the brain masks, in world axes.
    """
    dtype = fixed_covariance.dtype
    _, fixed_axes = jnp.linalg.eigh(fixed_covariance)
    _, moving_axes = jnp.linalg.eigh(moving_covariance)
    # eigh's axes may be left-handed: mend both, or a reflection would slip in.
    fixed_axes = fixed_axes * jnp.linalg.det(fixed_axes)
    moving_axes = moving_axes * jnp.linalg.det(moving_axes)
    matched = [moving_axes @ (jnp.diag(jnp.asarray(s, dtype)) @ fixed_axes.T) for s in _SIGNS]
    return jnp.concatenate([jnp.asarray(_FAN, dtype), jnp.stack(matched)])
