"""What the force of a data set's pairs says, as the tables of docs/force.md."""

from typing import Any

from drivenmorph_jax.evaluation.force_words import figure_of

_STATISTICS = {
    "spearman": "rank correlation of ‖f‖ with ‖Δφ‖",
    "pearson": "Pearson",
    "cosine_final": "cosine of f with the final u",
}
_TENTHS = {0: "least", -1: "most"}
_OWN, _OTHER = "force_of_the_pair", "force_of_another"
_REMOVED = {
    "returned": "returned, whole ball",
    "returned_deeper_than_8_mm": "returned, > 8 mm inside",
    "left": "displacement left in the ball",
}
_CHANGED = {
    "changed_beyond_8_mm": "changed beyond 8 mm",
    "changed_beyond_16_mm": "beyond 16 mm",
    "changed_beyond_32_mm": "beyond 32 mm",
    "changed_beyond_3_widths": "beyond three smoothing widths",
}


def force_tables(summary: dict[str, Any]) -> str:
    """Markdown: the levels, the difference before and after, and the force removed.

    Args:
      summary: of `summarise_force`.
    """
    tables = (_levels(summary), _residual(summary), _removal(summary))
    return "\n\n".join(map("\n".join, tables)) + "\n"


def _levels(summary: dict[str, Any]) -> list[str]:
    columns = [part for title in _STATISTICS.values() for part in (title, "control")]
    lines = _header("level", *columns)
    for name, level in summary["levels"].items():
        found = [level.get(f"{key}{of}", {}) for key in _STATISTICS for of in ("", "_control")]
        lines.append(_row(name.removeprefix("level_"), *map(figure_of, found)))
    return lines


def _residual(summary: dict[str, Any]) -> list[str]:
    lines = _header("tenth of the brain", "before", "after", "left")
    for whose, text in ((_OWN, "{} force"), (_OTHER, "{} of another pair's force (control)")):
        curve = summary["residual"][whose]
        for place, name in _TENTHS.items() if curve else ():
            before, after, left = (curve[key][place] for key in ("before", "after", "left"))
            values = figure_of(before, 3), figure_of(after, 3), figure_of(left)
            lines.append(_row(text.format(name), *values))
    return lines


def _removal(summary: dict[str, Any]) -> list[str]:
    lines = _header("radius", *_REMOVED.values(), *_CHANGED.values())
    for radius, found in summary["removal"]["radii_mm"].items():
        inside = [figure_of(found[key]) for key in _REMOVED]
        outside = [_percent(found[key]) for key in _CHANGED]
        lines.append(_row(f"{radius} mm", *inside, *outside))
    return lines


def _percent(value: dict[str, float]) -> str:
    """Of a mean; "-" where no pair's brain reaches so far."""
    return f"{100 * value['mean']:.2f} %" if value else "-"


def _header(*columns: str) -> list[str]:
    return [_row(*columns), "|---" * len(columns) + "|"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
