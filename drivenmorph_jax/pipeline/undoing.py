"""A displacement field undone at any number of points, a fixed number at a time."""

import itertools

import jax
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.images.threads import in_threads
from drivenmorph_jax.spatial.newton import preimages

# Points at a time: few enough that a hard one holds up few others.
_CHUNK = 2**13
_FEWEST_VOXELS = 2**20
# Iterations for all points, and then for those that are left.
_ROUNDS = (1, 3, 30)

_preimages = jax.jit(preimages)


class Undoing:
    """φ⁻¹ of φ(v) = v + u(v), point by point (`spatial.newton`), in voxels of the field.

    Compiled once for fields of up to a power of two of voxels, whatever their shape.

    Args:
        displacement: (X, Y, Z, 3), u in voxels.
    """

    def __init__(self, displacement: Float[ndarray, "x y z 3"]) -> None:
        self._shape = np.asarray(displacement.shape[:3], np.int32)
        voxels = int(np.prod(self._shape))
        room = max(_FEWEST_VOXELS, 1 << (voxels - 1).bit_length())
        flat = np.zeros((room, 3), np.float32)
        flat[:voxels] = displacement.reshape(-1, 3)
        self._flat = jax.device_put(flat)

    def __call__(
        self,
        targets: Float[ndarray, "n 3"],
        start: Float[ndarray, "n 3"],
        *,
        tolerance: float,
    ) -> Float[ndarray, "n 3"]:
        """Points v with φ(v) ≈ targets; as near as they get where φ never leads there.

        Args:
            targets: voxels.
            start: voxels, near the solution.
            tolerance: good enough, voxels.
        """
        targets, points = np.asarray(targets, np.float32), np.array(start, np.float32)
        residual = np.full(len(points), np.inf, np.float32)

        def solve(some, iterations: int) -> None:
            # The last chunk is filled up with its first point: one shape, one compilation.
            padded = np.concatenate([some, np.repeat(some[:1], _CHUNK - len(some))])
            found = _preimages(
                self._flat,
                self._shape,
                targets[padded],
                points[padded],
                iterations=np.int32(iterations),
                tolerance=np.float32(tolerance),
            )
            found = jax.device_get(found)
            points[some], residual[some] = (part[: len(some)] for part in found)

        for iterations in _ROUNDS:
            left = np.flatnonzero(residual > tolerance)
            chunks = [left[first : first + _CHUNK] for first in range(0, len(left), _CHUNK)]
            in_threads(solve, chunks, itertools.repeat(iterations))
        return points
