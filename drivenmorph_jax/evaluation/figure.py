"""One picture of a registered pair: images, differences, map, and the force that made it."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy import ndarray

from drivenmorph_jax.evaluation.scaling import scaled
from drivenmorph_jax.evaluation.slices import summed_force
from drivenmorph_jax.model.result import Registration
from drivenmorph_jax.spatial.jacobian import jacobian_determinant
from drivenmorph_jax.spatial.sampling import warp
from drivenmorph_jax.writing import write_atomically

_INK = "#20242c"
_FORCE, _MOTION = "#e4572e", "#1f6fb2"
_GRID_LINES = 30
_ARROWS = 24


class Slice(NamedTuple):
    """An axial slice as it is drawn: patient's right on the right, anterior up, in mm.

    Attributes:
      extent: of an image in mm, for `imshow`.
      centres: mm of the voxel centres along x and along y.
      box: the part in mm that holds the brain, with a margin: x from, to, y from, to.
      brain: (H, W), rows from posterior to anterior.
    """

    extent: tuple[float, float, float, float]
    centres: tuple[ndarray, ndarray]
    box: tuple[float, float, float, float]
    brain: ndarray


def draw_registration(
    path: str | os.PathLike,
    fixed: Float[ndarray, "d h w"],
    moving: Float[ndarray, "d h w"],
    registration: Registration,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    title: str = "",
    axial: int | None = None,
) -> None:
    """Draw a pair and its registration as PNG; the file appears whole or not at all.

    Args:
      path: a .png file in an existing folder.
      fixed, moving: axes right, anterior, superior; background 0.
      registration: of this pair.
      spacing: mm per voxel.
      title: above the panels.
      axial: number of the axial slice; by default the one with the largest area of brain.

    Raises:
      InputError: the file cannot be written.
    """
    fixed, moving = (np.asarray(image, np.float32) for image in (fixed, moving))
    displacement = np.asarray(registration.displacement, np.float32)
    warped, determinant = (np.asarray(part) for part in _moved(moving, displacement))
    fixed, moving, warped = (scaled(image) for image in (fixed, moving, warped))
    if axial is None:
        axial = int(np.argmax((fixed != 0).sum((0, 1))))
    here = _slice_geometry(fixed[..., axial] != 0, spacing)
    with mpl.rc_context({"font.size": 9, "axes.titlesize": 10, "text.color": _INK}):
        # Rows as far apart as a colour bar and a title take, which the layout does not count.
        layout = ConstrainedLayoutEngine(hspace=0.07)
        figure = Figure(figsize=(16, 9), layout=layout, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 5)
        figure.suptitle(f"{title}   axial slice {axial}".strip(), fontsize=12, fontweight="bold")
        _draw_images(axes[0, :3], (fixed, moving, warped), here, axial)
        _draw_differences(axes[0, 3:], fixed, (moving, warped), here, axial)
        _draw_map(axes[1, :2], displacement, determinant, here, axial)
        _draw_force(axes[1, 2:], fixed, registration, here, axial, spacing)
        write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=130, format="png"))


def total_force(
    registration: Registration, shape: Sequence[int], spacing: Sequence[float]
) -> Float[ndarray, "d h w 3"]:
    """`summed_force` on the host."""
    return np.asarray(_summed_force(registration, tuple(shape), tuple(map(float, spacing))))


# Operation by operation JAX compiles each of them, for seconds.
_summed_force = jax.jit(summed_force, static_argnums=(1, 2))


@jax.jit
def _moved(moving, displacement):
    """The moved image, and the determinant of the map."""
    return warp(moving[..., None], displacement)[..., 0], jacobian_determinant(displacement)


def _slice_geometry(brain, spacing) -> Slice:
    dx, dy = float(spacing[0]), float(spacing[1])
    width, height = brain.shape[0] * dx, brain.shape[1] * dy
    occupied = np.argwhere(brain)
    if not len(occupied):
        occupied = np.array([[0, 0], np.array(brain.shape) - 1])
    low, high = occupied.min(0) - 2, occupied.max(0) + 3
    box = (
        max(low[0] * dx, 0),
        min(high[0] * dx, width),
        max(low[1] * dy, 0),
        min(high[1] * dy, height),
    )
    centres = ((np.arange(brain.shape[0]) + 0.5) * dx, (np.arange(brain.shape[1]) + 0.5) * dy)
    return Slice((0, width, 0, height), centres, box, brain.T)


def _draw_images(axes, images, here: Slice, axial: int) -> None:
    top = np.percentile(images[0][images[0] != 0], 99.5) if images[0].any() else 1.0
    shown = None
    for ax, image, name in zip(axes, images, ("fixed", "moving", "warped moving"), strict=True):
        shown = _show(ax, image[..., axial].T, here, cmap="gray", vmin=0, vmax=top)
        _frame(ax, name, here)
    _bar(shown, axes[1], "intensity / brain RMS")


def _draw_differences(axes, fixed, others, here: Slice, axial: int) -> None:
    before = others[0] - fixed
    limit = np.percentile(np.abs(before[before != 0]), 99) if before.any() else 1.0
    names = ("moving − fixed, before", "warped − fixed, after")
    for ax, other, name in zip(axes, others, names, strict=True):
        difference = other - fixed
        brain = (other != 0) | (fixed != 0)
        rms = np.sqrt(np.mean(difference[brain] ** 2)) if brain.any() else 0.0
        shown = _show(ax, difference[..., axial].T, here, cmap="RdBu_r", vmin=-limit, vmax=limit)
        _frame(ax, f"{name} (RMS {rms:.2f})", here)
        _bar(shown, ax, "intensity / brain RMS")


def _draw_map(axes, displacement, determinant, here: Slice, axial: int) -> None:
    grid_axis, jacobian_axis = axes
    x, y = here.centres
    step = (x[1] - x[0], y[1] - y[0])
    mapped = np.stack(
        [
            x[:, None] + displacement[:, :, axial, 0] * step[0],
            y[None, :] + displacement[:, :, axial, 1] * step[1],
        ],
        axis=-1,
    )
    every = max(1, round(max(mapped.shape[:2]) / _GRID_LINES))
    lines = [*mapped[every // 2 :: every], *mapped[:, every // 2 :: every].swapaxes(0, 1)]
    grid_axis.add_collection(LineCollection(lines, colors=_MOTION, linewidths=0.7))
    grid_axis.contour(x, y, here.brain, levels=[0.5], colors="#9aa2af", linewidths=0.8)
    grid_axis.set_aspect("equal")
    _frame(grid_axis, f"deformation grid, every {every * step[0]:.3g} mm", here)
    inside = np.where(here.brain, determinant[..., axial].T, np.nan)
    spread = max(np.nanmax(np.abs(inside - 1)), 0.05) if here.brain.any() else 1.0
    spread = min(float(spread), 1.0)
    norm = TwoSlopeNorm(1.0, vmin=1 - spread, vmax=1 + spread)
    shown = _show(jacobian_axis, inside, here, cmap="PuOr", norm=norm)
    _frame(jacobian_axis, "Jacobian determinant", here)
    _bar(shown, jacobian_axis, "change of volume", ticks=[1 - spread, 1, 1 + spread])


def _draw_force(axes, fixed, registration, here: Slice, axial: int, spacing) -> None:
    size_axis, force_axis, motion_axis = axes
    force = total_force(registration, fixed.shape, spacing)
    motion = np.asarray(registration.displacement) * np.asarray(spacing, np.float32)
    size = np.where(here.brain, np.linalg.norm(force[:, :, axial], axis=-1).T, np.nan)
    top = np.nanpercentile(size, 99.5) if here.brain.any() and np.nanmax(size) > 0 else 1.0
    shown = _show(size_axis, size, here, cmap="magma", vmin=0, vmax=top)
    _frame(size_axis, "driving force, all levels", here)
    _bar(shown, size_axis, "‖f‖, feature² / mm")
    image = fixed[..., axial].T
    for ax, vectors, colour, name, unit in (
        (force_axis, force, _FORCE, "driving force", "feature²/mm"),
        (motion_axis, motion, _MOTION, "displacement", "mm"),
    ):
        _show(ax, image, here, cmap="gray", vmin=0, vmax=2 * max(float(image.max()), 1e-6))
        _arrows(ax, vectors[:, :, axial, :2], here, colour, unit)
        _frame(ax, f"{name}, in the plane", here)


def _arrows(ax: Axes, vectors, here: Slice, colour: str, unit: str) -> None:
    """Arrows at a lattice of brain voxels; the key tells the length of a large one."""
    every = max(1, round(max(vectors.shape[:2]) / _ARROWS))
    chosen = np.zeros(vectors.shape[:2], bool)
    chosen[every // 2 :: every, every // 2 :: every] = True
    i, j = np.nonzero(chosen & here.brain.T)
    drawn = vectors[i, j]
    length = np.percentile(np.linalg.norm(drawn, axis=-1), 95) if len(drawn) else 0.0
    if length <= 0:
        return
    x, y = here.centres
    # A large arrow spans one and a half steps of the lattice.
    scale = length / (1.5 * every * (x[1] - x[0]))
    quiver = ax.quiver(
        x[i], y[j], *drawn.T, color=colour, angles="xy", scale_units="xy", scale=scale, width=0.007
    )
    key = float(f"{length:.1g}")
    ax.quiverkey(
        quiver, 0.5, -0.06, key, f"{key:g} {unit}", labelpos="E", labelsep=0.05, coordinates="axes"
    )


def _show(ax: Axes, image, here: Slice, **options: Any):
    return ax.imshow(image, origin="lower", extent=here.extent, interpolation="nearest", **options)


def _frame(ax: Axes, name: str, here: Slice) -> None:
    ax.set_title(name)
    ax.set_xlim(here.box[:2])
    ax.set_ylim(here.box[2:])
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("#d4d8de")
    for text, place in (
        ("L", (0.03, 0.5)),
        ("R", (0.97, 0.5)),
        ("A", (0.5, 0.97)),
        ("P", (0.5, 0.03)),
    ):
        ax.text(
            *place,
            text,
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=7,
            color="#7b8494",
        )


def _bar(shown, ax: Axes, name: str, ticks: Sequence[float] | None = None) -> None:
    """A colour bar under a panel, where it takes nothing of the panel's size."""
    place = ax.inset_axes((0.08, -0.07, 0.84, 0.025))
    figure = ax.get_figure(root=True)
    assert figure is not None
    bar = figure.colorbar(shown, cax=place, orientation="horizontal", ticks=ticks, format="%.3g")
    bar.set_label(name, fontsize=8)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)
