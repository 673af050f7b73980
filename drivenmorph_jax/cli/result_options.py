"""Options that say where results go and what is told of them, for the commands that register."""

from pathlib import Path
from typing import Any


def add_result_options(parser: Any, *, folder: str) -> None:
    """The folder, and silence.

    Args:
        parser: of the command.
        folder: what the folder is for.
    """
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=folder)
    parser.add_argument("--quiet", action="store_true", help="say nothing unless there is an error")


def add_format_option(parser: Any) -> None:
    """Further files of the map."""
    parser.add_argument(
        "--formats",
        type=_split,
        default="itk",
        metavar="LIST",
        help="files of the map, by commas: itk (always), fsl (warp_fsl.nii.gz), freesurfer "
        "(warp_freesurfer.nii.gz), h5 (warp.h5, ITK composite)",
    )


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
