"""Confidence intervals of a mean over pairs, without an assumption about its distribution."""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 10_000


def bootstrap_interval(values: Sequence[float], *, seed: int = 0) -> dict[str, float]:
    """The mean, and the 95 % percentile bootstrap interval of it (Efron, Ann. Statist. 1979).

    Args:
      values: one a pair; those that are not finite are left out.
      seed: of the resampling.

    Returns:
      `mean`, `pairs`, and, of two pairs or more, `low` and `high`; empty where nothing is finite.
    """
    array = np.asarray(values, np.float64)
    array = array[np.isfinite(array)]
    if not array.size:
        return {}
    result = {"mean": float(array.mean()), "pairs": int(array.size)}
    if array.size > 1:
        draws = np.random.default_rng(seed).integers(array.size, size=(_RESAMPLES, array.size))
        low, high = np.percentile(array[draws].mean(axis=1), [2.5, 97.5])
        result |= {"low": float(low), "high": float(high)}
    return result
