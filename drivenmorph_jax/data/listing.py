"""What a data set's folder holds: the files of its subjects, and who is paired with whom."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path


class SubjectFile(NamedTuple):
    """Where a subject's image and labels are; `labels_path` is None where there are none, and
    the image's own path where the label map is all there is."""

    name: str
    image_path: Path
    labels_path: Path | None = None


class Listing(NamedTuple):
    """The subjects of a data set.

    Attributes:
      training: never in `validation` too.
      validation: the reported subjects.
      training_pairs: (fixed, moving) names to train on; None: any two training subjects.
      validation_pairs: (fixed, moving) names to report; None: cyclic, in order of name.
      labels: name of the label protocol, or path of the label table; None where unknown.
    """

    training: tuple[SubjectFile, ...]
    validation: tuple[SubjectFile, ...]
    training_pairs: tuple[tuple[str, str], ...] | None = None
    validation_pairs: tuple[tuple[str, str], ...] | None = None
    labels: str | None = None


def require_folder(path: str | None, layout: str) -> Path:
    """The folder of a data set.

    Args:
      path: what the config says.
      layout: what the folder should hold, for the message.

    Raises:
      InputError: no path given, or no folder there.
    """
    if path is None:
        raise InputError(f"data.path is not set: give the folder of {layout}")
    folder = user_path(path)
    if not folder.is_dir():
        raise InputError(f"no folder {folder}: set data.path to the folder of {layout}")
    return folder


def require_subjects(
    files: Iterable[SubjectFile], folder: Path, layout: str
) -> tuple[SubjectFile, ...]:
    """The files in order of name.

    Raises:
      InputError: there are none, so the folder is not of this layout; or a name is there twice.
    """
    ordered = tuple(sorted(files, key=lambda file: file.name))
    if not ordered:
        raise InputError(f"{folder} does not look like {layout}: set data.path or data.format")
    require_unique(ordered)
    return ordered


def require_unique(files: tuple[SubjectFile, ...]) -> tuple[SubjectFile, ...]:
    """The files as they are.

    Raises:
      InputError: a name is there twice.
    """
    ordered = sorted(files, key=lambda file: file.name)
    for before, after in itertools.pairwise(ordered):
        if before.name == after.name:
            raise InputError(
                f"subject {after.name} is there twice: {before.image_path} and {after.image_path}"
            )
    return files


def strip_image_suffix(path: Path) -> str:
    """The file's name without `.nii.gz` or another ending of images."""
    name = path.name
    for ending in (".nii.gz", ".nii", ".mgz", ".mgh", ".img.gz", ".img", ".hdr", ".pkl"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def existing(path: Path) -> Path | None:
    """The path, if there is a file."""
    return path if path.is_file() else None
