"""The report of a registration, from its results."""

from pathlib import Path

import numpy as np

from drivenmorph_jax.images import Volume, warp_volume
from drivenmorph_jax.images.world_jacobian import world_jacobian
from drivenmorph_jax.pipeline.force_fields import force_fields
from drivenmorph_jax.pipeline.quality import Check
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.report.content import ReportContent
from drivenmorph_jax.pipeline.report.page import write_report
from drivenmorph_jax.pipeline.summary import Summary

REPORT = "report.html"


def report_registration(
    folder: Path, registered: Registered, summary: Summary, checks: list[Check], *, title: str
) -> None:
    """Write `report.html`: the pair on the working grid, where the deformation was found.

    Raises:
        InputError: the folder cannot be written.
    """
    working = registered.working
    axes = working.grid.affine[:3, :3]
    displacement = np.asarray(registered.deformable.displacement) @ axes.T
    moving = Volume(working.moving, working.grid.affine)
    forces = force_fields(registered.deformable, working.grid, working.grid)
    content = ReportContent(
        title=title,
        fixed=working.fixed,
        moving_aligned=working.moving,
        warped=warp_volume(moving, displacement, working.grid.affine).data,
        displacement_mm=displacement,
        jacobian=world_jacobian(displacement, working.grid.affine),
        force=forces.driving_force,
        spacing=np.linalg.norm(axes, axis=0),
        summary=summary,
        checks=checks,
    )
    write_report(folder / REPORT, content)
