"""What became of a pair, and the table of all of them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from drivenmorph_jax.errors import plain_reason
from drivenmorph_jax.pipeline.batch.pairs import Pair
from drivenmorph_jax.pipeline.quality import worst
from drivenmorph_jax.pipeline.summary import Summary
from drivenmorph_jax.writing import write_atomically

# Column of the table: where its figure is in summary.json.
_FIGURES = {
    "dice_before": ("dice", "before"),
    "dice_affine": ("dice", "affine"),
    "dice_after": ("dice", "after"),
    "correlation_affine": ("similarity", "affine"),
    "correlation_after": ("similarity", "after"),
    "folding_percent": ("whole_map", "folding_percent"),
    "ndv_percent": ("whole_map", "ndv_percent"),
    "largest_displacement_mm": ("deformation", "largest_displacement_mm"),
}
_NO_LABELS: dict[str, None] = dict.fromkeys(("before", "affine", "after"))
COLUMNS = ("name", "fixed", "moving", "status", "quality", *_FIGURES, "seconds", "error")
"""Of results.csv. Folding and NDV are of the map on the fixed image's own grid, inside its brain,
as the gates judge it; the displacement is the deformation's, without the affine."""

Figures = Mapping[str, float | None]


class Outcome(NamedTuple):
    """A pair that was registered, or was not.

    Attributes:
        pair: what it was.
        figures: by column; None where there is nothing to tell. Empty if it failed.
        checks: the quality gates, as in summary.json.
        error: why it failed, on one line; None if it did not.
    """

    pair: Pair
    figures: Figures = MappingProxyType({})
    checks: Sequence[dict[str, Any]] = ()
    error: str | None = None

    @property
    def status(self) -> str:
        """As in the table."""
        return "ok" if self.error is None else "failed"

    @property
    def quality(self) -> str | None:
        """The worst verdict of the gates; None if there was nothing to judge."""
        return None if self.error else worst(check["verdict"] for check in self.checks)


def succeeded(pair: Pair, summary: Summary) -> Outcome:
    """The outcome that a summary tells.

    Raises:
        KeyError: it is not one of a registration.
    """
    parts = {"dice": _NO_LABELS} | summary
    figures = {column: parts[part][key] for column, (part, key) in _FIGURES.items()}
    figures["seconds"] = sum(summary["seconds"].values())
    return Outcome(pair, figures, summary["quality"])


def failed(pair: Pair, error: Exception) -> Outcome:
    """The outcome of a pair that could not be registered."""
    return Outcome(pair, error=_one_line(error))


def write_results(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table; the file appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(_row(outcome) for outcome in outcomes)

    write_atomically(path, write)


def _row(outcome: Outcome) -> dict[str, str]:
    figures = {name: f"{v:.6g}" for name, v in outcome.figures.items() if v is not None}
    return {
        "name": outcome.pair.name,
        "fixed": str(outcome.pair.files["fixed"]),
        "moving": str(outcome.pair.files["moving"]),
        "status": outcome.status,
        "quality": outcome.quality or "",
        "error": outcome.error or "",
        **figures,
    }


def _one_line(error: Exception) -> str:
    unexpected = (
        f"unexpected {type(error).__name__}: {error}: register this pair alone to see where"
    )
    return " ".join((plain_reason(error) or unexpected).split())
