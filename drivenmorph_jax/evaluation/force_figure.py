"""Pictures of what the force explains: statistics over pairs, and one ball without its force."""

import os
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy import ndarray

from drivenmorph_jax.evaluation.causal import EDGES
from drivenmorph_jax.evaluation.scaling import scaled, warped
from drivenmorph_jax.writing import write_atomically

_OWN, _CONTROL, _AFTER = "#e4572e", "#9aa2af", "#1f6fb2"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_STATISTICS = (
    ("spearman", "rank correlation,\n‖f‖ with ‖Δφ‖"),
    ("cosine_final", "cosine,\nf with final u"),
)


def draw_force_statistics(
    path: str | os.PathLike, summary: dict[str, Any], *, title: str, control: str
) -> None:
    """Draw the summary of `summarise_force` as PNG; the file appears whole or not at all.

    Args:
      path: a .png file in an existing folder.
      summary: the statistics.
      title: above the panels.
      control: what the control is.

    Raises:
      InputError: the file cannot be written.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(13, 6.6), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 3)
        figure.suptitle(title, fontweight="bold")
        for ax, statistic in zip(axes[:, 0], _STATISTICS, strict=True):
            _draw_levels(ax, summary["levels"], *statistic, control)
        curves = summary["residual"]
        _draw_residual(axes[0, 1], curves["force_of_the_pair"], "by the pair's own force")
        _draw_residual(axes[1, 1], curves["force_of_another"], f"control: by {control}")
        axes[0, 1].set_ylim(bottom=0)
        axes[1, 1].set_ylim(axes[0, 1].get_ylim())
        _draw_profile(axes[0, 2], summary["removal"], "returned")
        _draw_profile(axes[1, 2], summary["removal"], "changed")
        write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=90, format="png"))


def draw_removal(
    path: str | os.PathLike,
    fixed: Float[ndarray, "d h w"],
    moving: Float[ndarray, "d h w"],
    displacements: tuple[Float[ndarray, "d h w 3"], Float[ndarray, "d h w 3"]],
    *,
    spacing: Sequence[float],
    centre: Sequence[int],
    radius: float,
    title: str,
) -> None:
    """Draw the axial slice through a ball: differences before, after, and without its force.

    Args:
      path: a .png file in an existing folder.
      fixed, moving: background 0.
      displacements: with all force, and without that of the ball, voxels.
      spacing: mm.
      centre: of the ball, voxels.
      radius: mm.
      title: above the panels.

    Raises:
      InputError: the file cannot be written.
    """
    target, source = scaled(fixed), scaled(moving)
    full, reduced = displacements
    change = np.linalg.norm((reduced - full) * np.asarray(spacing, np.float32), axis=-1)
    differences = (source, warped(source, full), warped(source, reduced))
    names = ("moving − fixed", "registered", "registered, no force in the ball")
    limit = np.percentile(np.abs(source - target)[fixed != 0], 99)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(13, 4), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 4)
        figure.suptitle(title, fontweight="bold")
        aspect = spacing[1] / spacing[0]
        for ax, image, name in zip(axes, differences, names, strict=False):
            plane = (image - target)[..., centre[2]].T
            options: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
            shown = ax.imshow(plane, origin="lower", aspect=aspect, **options)
            ax.set_title(name)
        figure.colorbar(shown, ax=axes[:3], shrink=0.8, label="intensity / brain RMS")
        plane = np.where(fixed[..., centre[2]] != 0, change[..., centre[2]], np.nan).T
        shown = axes[3].imshow(plane, origin="lower", aspect=aspect, cmap="magma", vmin=0)
        axes[3].set_title("change of the displacement")
        figure.colorbar(shown, ax=axes[3], shrink=0.8, label="mm")
        for ax in axes:
            ax.set_axis_off()
            ball = {"fill": False, "color": "#2a9d4a", "linewidth": 1.5}
            ax.add_patch(Circle((centre[0], centre[1]), radius / spacing[0], **ball))
        write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=90, format="png"))


def _draw_levels(ax: Axes, levels: dict[str, Any], statistic: str, name: str, control: str) -> None:
    for offset, ending, colour, label in (
        (-0.2, "", _OWN, "the pair's own force"),
        (0.2, "_control", _CONTROL, control),
    ):
        values = [level.get(f"{statistic}{ending}", {}) for level in levels.values()]
        _bars(ax, np.arange(len(levels)) + offset, values, colour, label)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xticks(range(len(levels)), [key.replace("_", " ") for key in levels])
    ax.set_ylabel(name)
    if statistic == _STATISTICS[0][0]:
        ax.legend(frameon=False, fontsize=8)


def _bars(ax: Axes, x, values, colour: str, label: str) -> None:
    mean, low, high = _limits(values)
    errors = np.abs(np.stack([mean - low, high - mean]))
    ax.bar(x, mean, 0.36, yerr=errors, color=colour, label=label, error_kw={"linewidth": 1})


def _draw_residual(ax: Axes, curve: dict[str, Any], name: str) -> None:
    ax.set_title(f"difference |F − M∘φ|, {name}")
    ax.set_xlabel("tenth of the brain, least to most force")
    ax.set_ylabel("brain RMS")
    for key, colour in (("before", _OWN), ("after", _AFTER)):
        if not curve:
            continue
        mean, low, high = _limits(curve[key])
        x = np.arange(1, len(mean) + 1)
        ax.plot(x, mean, color=colour, marker="o", markersize=3, label=key)
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.legend(frameon=False, fontsize=8)


def _draw_profile(ax: Axes, removal: dict[str, Any], key: str) -> None:
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    radii = removal["radii_mm"]
    colours = mpl.colormaps["viridis"](np.linspace(0.1, 0.85, max(len(radii), 1)))
    for (radius, found), colour in zip(radii.items(), colours, strict=True):
        mean, low, high = _limits(found[f"{key}_by_distance"])
        ax.plot(middle, mean, color=colour, label=f"{radius} mm")
        ax.fill_between(middle, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.axvline(0, color="black", linewidth=0.6)
    ax.set_xlabel("distance from the ball's surface, mm (inside < 0)")
    if key == "returned":
        ax.axhline(0.8, color="black", linewidth=0.6, linestyle=":")
        ax.set_ylim(-0.2, 1.4)
        ax.set_xlim(right=24)
        ax.set_title("difference that returns without the ball's force")
        ax.legend(frameon=False, fontsize=8, title="radius")
    else:
        ax.axhline(0.05, color="black", linewidth=0.6, linestyle=":")
        ax.set_ylim(0, 1.1)
        ax.set_xlim(right=48)
        ax.set_title("change of the displacement, of its length")


def _limits(values: Sequence[dict[str, float]]) -> tuple[ndarray, ndarray, ndarray]:
    mean = np.array([value.get("mean", np.nan) for value in values])
    low = np.array([value.get("low", m) for value, m in zip(values, mean, strict=True)])
    high = np.array([value.get("high", m) for value, m in zip(values, mean, strict=True)])
    return mean, low, high
