"""The whole map in the files of other tools than ITK's field."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Transform, write_transform
from drivenmorph_jax.images.transform_files import Format
from drivenmorph_jax.pipeline.registration import Registered
from drivenmorph_jax.pipeline.scans import Scans

FORMAT_FILES: dict[Format, str] = {
    "fsl": "warp_fsl.nii.gz",
    "freesurfer": "warp_freesurfer.nii.gz",
    "h5": "warp.h5",
}
"""The file of each format; "itk" is always written."""


def check_formats(formats: Sequence[str]) -> None:
    """Raise InputError at a format that is not known."""
    unknown = sorted(set(formats) - {"itk", *FORMAT_FILES})
    if unknown:
        known = ", ".join(("itk", *FORMAT_FILES))
        raise InputError(f"format {unknown[0]}: is not known: choose among {known}")


def format_writers(
    folder: Path, scans: Scans, registered: Registered, formats: Sequence[str]
) -> list[Callable[[], None]]:
    """What writes the map in each of the formats, a file each.

    They raise InputError where the folder cannot be written.
    """
    whole = Transform.from_field(registered.displacement, scans.fixed.affine)
    moving = Grid(scans.moving.shape, scans.moving.affine)
    return [
        partial(write_transform, folder / file, whole, format=name, moving=moving)
        for name, file in FORMAT_FILES.items()
        if name in formats
    ]
