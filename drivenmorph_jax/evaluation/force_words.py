"""What the statistics of a force say, in plain words."""

from typing import Any

CONSTRUCTION = """\
What holds by construction, whatever the weights, and therefore proves nothing:
  the force is built from feature differences: where both images agree, F = M, it is 0;
  the raw Demons step never points against its force: f'(H + lambda I)^-1 f >= 0;
  a step is bounded, and the layer sees nothing of the images but the force and its metric.
What is not built in, and measured below: that the force of each level agrees with the final map,
after all other levels, smoothing and composition; that it is large where the images differ and
the registration mends it; and that without it a region stays as it was.
"""


def in_words(summary: dict[str, Any], *, control: str) -> str:
    """Text for a person.

    Args:
      summary: of `summarise_force`.
      control: what the control is, as in "the force of another pair".
    """
    parts = [CONSTRUCTION, _levels(summary, control), _residual(summary, control)]
    return "\n".join([*parts, _removal(summary)])


def figure_of(value: dict[str, float], digits: int = 2) -> str:
    """A mean with its interval, as text."""
    if not value:
        return "-"
    text = f"{value['mean']:.{digits}f}"
    if "low" in value:
        text += f" [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"
    return text


def _levels(summary: dict[str, Any], control: str) -> str:
    count = summary["pairs"]
    lines = [
        f"Force and motion, inside the brain, mean over {count} pair(s) [95 % bootstrap interval];",
        f"in brackets the control, {control}:",
    ]
    for name, level in summary["levels"].items():
        lines.append(f"  {name.replace('_', ' ')}:")
        for statistic, meaning in (
            (
                "spearman",
                "rank correlation of the force's size with the size of the level's motion",
            ),
            ("pearson", "correlation of the same"),
            ("cosine_final", "cosine of the force with the final displacement"),
        ):
            own = figure_of(level.get(statistic, {}))
            other = figure_of(level.get(f"{statistic}_control", {}))
            lines.append(f"    {meaning}: {own} ({other})")
    return "\n".join(lines) + "\n"


def _residual(summary: dict[str, Any], control: str) -> str:
    lines = ["Difference |F - M|, both images at mean square 1, in tenths of the brain by force:"]
    for name, text in (
        ("force_of_the_pair", "the pair's own force"),
        ("force_of_another", f"control, {control}"),
    ):
        curve = summary["residual"][name]
        if not curve:
            continue
        lines.append(f"  ordered by {text}:")
        for place, label in ((0, "least force"), (-1, "most force")):
            before, after, share = (curve[k][place] for k in ("before", "after", "left"))
            lines.append(
                f"    tenth with the {label}: {figure_of(before, 3)} before, "
                f"{figure_of(after, 3)} after ({figure_of(share)} of it is left)"
            )
    return "\n".join(lines) + "\n"


def _removal(summary: dict[str, Any]) -> str:
    removal = summary["removal"]
    width = removal["smoothing_mm"]
    lines = [
        "Force removed in balls, at all levels, and the pair registered again "
        f"(widest smoothing of the layer: {width:.1f} mm):",
    ]
    for radius, found in removal["radii_mm"].items():
        near = figure_of(found["changed_beyond_8_mm"], 3)
        far = figure_of(found["changed_beyond_3_widths"], 4)
        lines += [
            f"  radius {radius} mm:",
            f"    of the difference that was removed comes back: {figure_of(found['returned'])}; "
            f"more than 8 mm inside {figure_of(found['returned_deeper_than_8_mm'])}; in the inner "
            f"half {figure_of(found['returned_in_the_inner_half'])}",
            f"    displacement that stays inside: {figure_of(found['left'])}; in the inner half "
            f"{figure_of(found['left_in_the_inner_half'])}",
            f"    change outside, beyond 8 mm: {near}; beyond three widths: {far}",
        ]
    return "\n".join(lines) + "\n"
