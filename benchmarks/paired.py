"""Whether one method is better than another on the same pairs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


class Comparison(NamedTuple):
    """Of one method with another, pair by pair.

    Attributes:
      pairs: how many both have registered.
      difference: mean of one minus other.
      low, high: ends of its 95 % confidence interval (Student's t over the pairs); NaN of one pair.
      p: of Wilcoxon's signed-rank test, two-sided; 1 where no pair differs.
    """

    pairs: int
    difference: float
    low: float
    high: float
    p: float


def compare(one: Sequence[float], other: Sequence[float]) -> Comparison:
    """Compare the figures of the same pairs, in the same order.

    Raises:
      ValueError: there are none, or not the same number of both.
    """
    differences = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    if differences.ndim != 1 or not differences.size or len(one) != len(other):
        raise ValueError(f"figures of the same pairs are needed, got {len(one)} and {len(other)}")
    count, mean = len(differences), float(differences.mean())
    half = float("nan")
    if count > 1:
        half = float(stats.t.ppf(0.975, count - 1) * stats.sem(differences))
    p = 1.0
    if differences.any():
        result: Any = stats.wilcoxon(differences)
        p = float(result.pvalue)
    return Comparison(count, mean, mean - half, mean + half, p)


def as_row(name: str, found: Comparison, digits: int) -> str:
    """A line of the table that `header` begins."""
    numbers = [f"{x:+.{digits}f}" for x in (found.difference, found.low, found.high)]
    return (
        f"| {name} | {found.pairs} | {numbers[0]} | {numbers[1]} to {numbers[2]} | {found.p:.2g} |"
    )


def header(of: str) -> list[str]:
    """The first lines of a table of comparisons: `of` says what of which method is compared."""
    return [f"| {of} | pairs | mean difference | 95 % CI | Wilcoxon p |", "|---|---|---|---|---|"]
