"""The files of a registration, in the formats that other tools read."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, save_volume, write_itk_affine, write_itk_displacement
from drivenmorph_jax.images.threads import in_threads
from drivenmorph_jax.pipeline.derived_fields import Fields
from drivenmorph_jax.pipeline.force_fields import FORCE_UNITS, STEP_UNITS
from drivenmorph_jax.pipeline.formats import FORMAT_FILES, format_writers
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.replay import replay_mismatch
from drivenmorph_jax.pipeline.report.of_registration import REPORT
from drivenmorph_jax.pipeline.scans import Scans
from drivenmorph_jax.pipeline.summary import Summary
from drivenmorph_jax.pipeline.vector_image import write_vectors
from drivenmorph_jax.writing import write_atomically

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
"""All that a registration may write."""

SUBJECT_SPACE = "subject_space"
"""The folder, beside these, of the template's maps on the image's own grid (`atlas`)."""

NAMES = (*FILES, SUBJECT_SPACE)
"""All that an earlier run, of whichever command, may have left in its folder."""

_REPLAY_TOLERANCE = 1e-3


def write_results(
    folder: Path,
    scans: Scans,
    registered: Registered,
    fields: Fields,
    warped_labels: Volume | None,
    *,
    formats: Sequence[str],
    deformable_only: bool,
    title: str,
) -> None:
    """Write all but `summary.json` and the report, several files at once.

    Args:
        folder: an existing one.
        scans, registered, fields: of the pair.
        warped_labels: None where there are none.
        formats: further files of the map.
        deformable_only: the Jacobian of the deformable part, without the affine.
        title: of the figure.

    Raises:
        InputError: the folder cannot be written, or is on a full disk.
    """
    fixed, moving = scans.fixed.affine, scans.moving.affine
    volumes = [
        (WARPED, registered.warped, "moving image on the fixed grid"),
        (JACOBIAN, *_jacobian(fields, fixed, deformable_only=deformable_only)),
    ]
    if warped_labels is not None:
        volumes.append((WARPED_LABELS, warped_labels, "labels on the fixed grid"))
    maps = [
        (WARP, registered.displacement, fixed),
        (INVERSE_WARP, fields.inverse.displacement, moving),
        (DEFORMABLE_WARP, fields.deformable, fixed),
    ]
    vectors = [
        (FORCE, fields.forces.driving_force, "driving force", FORCE_UNITS),
        (STEP, fields.forces.demons_step, "Demons step", STEP_UNITS),
    ]
    jobs: list[Callable[[], None]] = [
        # It takes longest, so it begins first.
        partial(write_figure, folder, registered, title=title),
        *(partial(write_itk_displacement, folder / name, *field) for name, *field in maps),
        *(
            partial(write_vectors, folder / name, field, fixed, name=kind, description=units)
            for name, field, kind, units in vectors
        ),
        *(partial(save_volume, folder / name, v, description=d) for name, v, d in volumes),
        partial(write_itk_affine, folder / AFFINE, registered.matrix),
        *format_writers(folder, scans, registered, formats),
    ]
    in_threads(lambda job: job(), jobs)


def _jacobian(fields: Fields, affine, *, deformable_only: bool) -> tuple[Volume, str]:
    jacobian, part = fields.jacobian, "whole map, affine included"
    if deformable_only:
        jacobian, part = fields.deformable_jacobian, "deformable part, without the affine"
    return Volume(jacobian, affine), f"Jacobian determinant of the {part}"


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
