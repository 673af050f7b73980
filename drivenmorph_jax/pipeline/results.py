"""The files of a registration, in the formats that other tools read."""

import json
from pathlib import Path

import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, save_volume, write_itk_affine, write_itk_displacement
from drivenmorph_jax.images.writing import write_atomically
from drivenmorph_jax.pipeline.derived_fields import Fields
from drivenmorph_jax.pipeline.force_fields import FORCE_UNITS, STEP_UNITS
from drivenmorph_jax.pipeline.formats import FORMAT_FILES
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.replay import replay_mismatch
from drivenmorph_jax.pipeline.report.of_registration import REPORT
from drivenmorph_jax.pipeline.scans import Scans
from drivenmorph_jax.pipeline.summary import Summary
from drivenmorph_jax.pipeline.vector_image import write_vectors

WARPED = "warped.nii.gz"
WARPED_LABELS = "warped_labels.nii.gz"
WARP = "warp.nii.gz"
INVERSE_WARP = "inverse_warp.nii.gz"
DEFORMABLE_WARP = "deformable_warp.nii.gz"
AFFINE = "affine.mat"
JACOBIAN = "jacobian.nii.gz"
FORCE = "driving_force.nii.gz"
STEP = "demons_step.nii.gz"
FIGURE = "figure.png"
SUMMARY = "summary.json"
FILES = (
    WARPED,
    WARPED_LABELS,
    WARP,
    INVERSE_WARP,
    DEFORMABLE_WARP,
    AFFINE,
    JACOBIAN,
    FORCE,
    STEP,
    FIGURE,
    SUMMARY,
    REPORT,
    *FORMAT_FILES.values(),
)
"""All that a run may write."""

_REPLAY_TOLERANCE = 1e-3


def write_images(
    folder: Path, scans: Scans, registered: Registered, warped_labels: Volume | None
) -> None:
    """Write the moved images, the whole map, and the affine alone.

    Raises:
        InputError: the folder cannot be written, or is on a full disk.
    """
    save_volume(folder / WARPED, registered.warped, description="moving image on the fixed grid")
    write_itk_displacement(folder / WARP, registered.displacement, scans.fixed.affine)
    write_itk_affine(folder / AFFINE, registered.matrix)
    if warped_labels is not None:
        save_volume(folder / WARPED_LABELS, warped_labels, description="labels on the fixed grid")


def write_fields(
    folder: Path, scans: Scans, fields: Fields, *, deformable_only: bool = False
) -> None:
    """Write the inverse, the parts of the map, its Jacobian, and what drove it.

    Args:
        folder: an existing one.
        scans: the images' geometry.
        fields: of the registration.
        deformable_only: the Jacobian of the deformable part, without the affine.

    Raises:
        InputError: as above.
    """
    affine = scans.fixed.affine
    write_itk_displacement(folder / INVERSE_WARP, fields.inverse.displacement, scans.moving.affine)
    write_itk_displacement(folder / DEFORMABLE_WARP, fields.deformable, affine)
    jacobian, part = fields.jacobian, "whole map, affine included"
    if deformable_only:
        jacobian, part = fields.deformable_jacobian, "deformable part, without the affine"
    description = f"Jacobian determinant of the {part}"
    save_volume(folder / JACOBIAN, Volume(jacobian, affine), description=description)
    for name, vectors, kind, units in (
        (FORCE, fields.forces.driving_force, "driving force", FORCE_UNITS),
        (STEP, fields.forces.demons_step, "Demons step", STEP_UNITS),
    ):
        write_vectors(folder / name, vectors, affine, name=kind, description=units)


def check_replay(folder: Path, moving: Volume) -> float:
    """Read the warp back and let other code apply it: it must give the image that was written.

    Returns:
        The largest difference, as a share of the moving image's range.

    Raises:
        InputError: it gives another image.
    """
    try:
        off = replay_mismatch(folder / WARP, folder / WARPED, moving.data, moving.affine)
    except Exception as error:
        raise InputError(
            f"{WARP}: cannot be read back after writing ({' '.join(str(error).split())}): nothing "
            "is kept, check the disk"
        ) from error
    if not off <= _REPLAY_TOLERANCE:
        raise InputError(
            f"{WARP}: read back and applied by other code, it gives another image (off by "
            f"{off:.2g} of the range): nothing is kept, check the disk, and report this otherwise"
        )
    return off


def write_figure(folder: Path, registered: Registered, *, title: str) -> None:
    """Draw the pair as the method saw it, and what it made of it.

    Raises:
        InputError: as above.
    """
    # Matplotlib takes a second to import, and only this needs it.
    from drivenmorph_jax.evaluation.figure import draw_registration

    working = registered.working
    draw_registration(
        folder / FIGURE,
        working.fixed,
        working.moving,
        registered.deformable,
        spacing=np.linalg.norm(working.grid.affine[:3, :3], axis=0).tolist(),
        title=title,
    )


def write_summary(folder: Path, summary: Summary) -> None:
    """Write `summary.json`.

    Raises:
        InputError: as above.
    """
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / SUMMARY, lambda path: path.write_text(text))
