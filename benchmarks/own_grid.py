"""A method on a coarser grid than the common one, its displacement brought back to that."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.spatial.resize import downsample, upsample_displacement

Run = Callable[[ndarray, ndarray], tuple[ndarray, float]]
Finish = Callable[[ndarray, ndarray, ndarray], ndarray]


def halvings(spacing: Sequence[float], own: Sequence[float]) -> int:
    """How often a grid of this spacing is halved to become one of a method's own spacing, both mm.

    Raises:
      InputError: no number of times does it.
    """
    ratios = np.asarray(own, np.float64) / np.asarray(spacing, np.float64)
    count = round(math.log2(ratios.mean()))
    if count < 0 or not np.allclose(ratios, 2.0**count, rtol=0.02):
        raise InputError(
            f"a method was trained at {list(own)} mm, which halving a grid of {list(spacing)} mm "
            "does not reach: set data.spacing"
        )
    return count


def on_coarser_grid(run: Run, count: int, finish: Finish | None = None) -> Run:
    """The method on images halved `count` times by mean pooling; the seconds are of all of it.

    Args:
      run: the method.
      count: how often the images are halved.
      finish: fixed, moving, and the displacement found on the halved grid, to one on the whole; by
        default the displacement is interpolated.
    """
    if not count:
        return run
    finish = finish or (lambda fixed, moving, found: _double(found, fixed.shape, count))
    warm: set[tuple[int, ...]] = set()

    def carried(fixed: ndarray, moving: ndarray) -> tuple[ndarray, float]:
        if fixed.shape not in warm:  # Compiled outside the seconds.
            finish(fixed, moving, np.zeros((*_halve(fixed, count).shape, 3), np.float32))
            warm.add(fixed.shape)
        start = time.perf_counter()
        small = [_halve(image, count) for image in (fixed, moving)]
        halved = time.perf_counter() - start
        displacement, seconds = run(*small)
        start = time.perf_counter()
        result = finish(fixed, moving, displacement)
        return result, halved + seconds + time.perf_counter() - start

    return carried


def _halve(image: ndarray, count: int) -> ndarray:
    result: Any = jnp.asarray(image)[..., None]
    for _ in range(count):
        result = downsample(result)
    return np.asarray(result[..., 0])


def _double(displacement: ndarray, shape: Sequence[int], count: int) -> ndarray:
    shapes = [tuple(shape)]
    for _ in range(count - 1):
        shapes.append(tuple(-(-n // 2) for n in shapes[-1]))
    result: Any = jnp.asarray(displacement)
    for finer in reversed(shapes):
        result = upsample_displacement(result, finer)
    return np.asarray(result)
