"""The files of a registration, in the formats that other tools read."""

import json
from pathlib import Path

import numpy as np

from drivenmorph_jax.images import Volume, save_volume, write_itk_affine, write_itk_displacement
from drivenmorph_jax.images.writing import write_atomically
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.scans import Scans
from drivenmorph_jax.pipeline.summary import Summary

WARPED = "warped.nii.gz"
WARPED_LABELS = "warped_labels.nii.gz"
WARP = "warp.nii.gz"
AFFINE = "affine.mat"
FIGURE = "figure.png"
SUMMARY = "summary.json"
FILES = (WARPED, WARPED_LABELS, WARP, AFFINE, FIGURE, SUMMARY)
"""All that a run may write."""


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
