"""The report of a registration, from its results."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from drivenmorph_jax.pipeline.force_fields import force_fields
from drivenmorph_jax.pipeline.quality import Check
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.report import ReportContent, write_report
from drivenmorph_jax.pipeline.summary import Summary
from drivenmorph_jax.pipeline.world_jacobian import world_jacobian

REPORT = "report.html"


def write_page(
    folder: Path, registered: Registered, summary: Summary, checks: list[Check], *, title: str
) -> None:
    """Write `report.html`: the pair on the working grid, where the deformation was found.

    Raises:
        InputError: the folder cannot be written.
    """
    working = registered.working
    axes = working.grid.affine[:3, :3]
    displacement = np.asarray(registered.deformable.displacement)
    forces = force_fields(registered.deformable, working.grid, working.grid)
    content = ReportContent(
        title=title,
        fixed=working.fixed,
        moving_aligned=working.moving,
        warped=_warp(working.moving, displacement),
        displacement_mm=displacement @ axes.T,
        jacobian=world_jacobian(displacement @ axes.T, working.grid.affine),
        force=forces.driving_force,
        spacing=np.linalg.norm(axes, axis=0),
        summary=summary,
        checks=checks,
    )
    write_report(folder / REPORT, content)


def _warp(image: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    places = np.indices(image.shape, np.float32) + np.moveaxis(displacement, -1, 0)
    return ndimage.map_coordinates(image, places, order=1, mode="grid-constant")
