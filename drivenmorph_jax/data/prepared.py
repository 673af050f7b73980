"""Subjects on their common grid as a folder of arrays, for machines that read no images."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.data.cache import (
    PREPARATION_VERSION,
    CachedSubjects,
    read_cached,
    write_cached,
)
from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.labels import LabelTable, make_label_table
from drivenmorph_jax.data.skipping import subject_names
from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.writing import write_atomically

_MANIFEST = "prepared.json"
_VERSION = [1, PREPARATION_VERSION]  # of the list itself; of the subjects
_AGAIN = "prepare the data again (train.py --prepare)"
_ELSEWHERE = "choose another folder"

Part = Literal["training", "validation"]


class Prepared(NamedTuple):
    """Subjects on the common grid, and what is known of them.

    Attributes:
      subjects: in memory, or read from disk when asked for.
      pairs: (fixed, moving) names; None: the layout names none.
      label_table: None where the protocol is unknown.
      affine: (4, 4) of the common grid, voxel to RAS mm.
      without_images: names of those that are label maps alone.
      skipped: names of the listed subjects that cannot be used.
    """

    subjects: Sequence[Subject]
    pairs: tuple[tuple[str, str], ...] | None
    label_table: LabelTable | None
    affine: Float[ndarray, "4 4"]
    without_images: frozenset[str] = frozenset()
    skipped: tuple[str, ...] = ()

    @property
    def names(self) -> Sequence[str]:
        """Of the subjects, in their order."""
        return subject_names(self.subjects)


def claim_folder(folder: Path) -> None:
    """Make the folder for `save_prepared`, before hours of preparation for it.

    Raises:
      InputError: it cannot be made or written to, or holds prepared data.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = (folder / _MANIFEST).exists()
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}: {_ELSEWHERE}") from None
    if there:
        raise InputError(f"{folder} already holds prepared data: {_ELSEWHERE}")
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write {folder}: no permission: {_ELSEWHERE}")


def save_prepared(folder: Path, training: Prepared, validation: Prepared | None) -> None:
    """Write both parts into a folder that was claimed.

    The list of what is there comes last: without it there is nothing.

    Raises:
      InputError: it cannot be written.
    """
    document: dict[str, Any] = {"version": _VERSION, "validation": None}
    for title, part in (("training", training), ("validation", validation)):
        if part is None:
            continue
        # By number: names may hold what a file system does not take.
        files = [f"{title}/{index:05d}.npz" for index in range(len(part.names))]
        for file, subject in zip(files, part.subjects, strict=True):
            write_cached(folder / file, subject, mend=_ELSEWHERE)
        document[title] = _as_document(part, files)
    text = json.dumps(document, indent=1) + "\n"
    write_atomically(folder / _MANIFEST, lambda path: path.write_text(text))


def load_prepared(cfg: DataConfig, part: Part) -> Prepared | None:
    """A part of `cfg.prepared`; None where it has none.

    Raises:
      InputError: no such folder, files that are missing or damaged, or another grid than the
        config's.
    """
    assert cfg.prepared is not None
    folder = user_path(cfg.prepared)
    try:
        document = json.loads((folder / _MANIFEST).read_text())
        if document["version"] != _VERSION:
            raise InputError(f"{folder} was prepared by another version: {_AGAIN}")
        content = document[part]
        return None if content is None else _from_document(content, folder, cfg)
    except InputError:
        raise  # A ValueError too.
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"data.prepared: {folder} holds no prepared data: set it to a folder that train.py "
            "--prepare wrote, or to null to read the files themselves"
        ) from None
    except OSError as error:
        raise InputError(f"data.prepared: {folder} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise InputError(f"{folder / _MANIFEST} is damaged: {_AGAIN}") from None


def _as_document(part: Prepared, files: list[str]) -> dict[str, Any]:
    table = part.label_table
    return {
        "subjects": [list(entry) for entry in zip(part.names, files, strict=True)],
        "pairs": part.pairs,
        "labels": table and [list(row) for row in zip(table.values, table.names, strict=True)],
        "shape": list(part.subjects[0].image.shape),
        "affine": np.asarray(part.affine).tolist(),
        "without_images": sorted(part.without_images),
        "skipped": list(part.skipped),
    }


def _from_document(document: dict[str, Any], folder: Path, cfg: DataConfig) -> Prepared:
    if document["shape"] != list(cfg.shape):
        raise InputError(
            f"{folder} was prepared on {document['shape']} voxels, data.shape is "
            f"{list(cfg.shape)}: set it so, or prepare the data again"
        )
    affine = np.array(document["affine"], np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if cfg.spacing is not None and not np.allclose(spacing, cfg.spacing, rtol=1e-3):
        raise InputError(
            f"{folder} was prepared at {spacing.round(3).tolist()} mm, data.spacing is "
            f"{list(cfg.spacing)}: set it so, or prepare the data again"
        )
    names = tuple(name for name, _ in document["subjects"])
    paths = tuple(folder / file for _, file in document["subjects"])
    for path in paths:
        if read_cached(path, check_only=True) is None:
            raise InputError(f"{path} is missing or damaged: {_AGAIN}")
    subjects: Sequence[Subject] = CachedSubjects(names, paths, mend=_AGAIN)
    pairs, labels = document["pairs"], document["labels"]
    return Prepared(
        tuple(subjects) if cfg.in_memory else subjects,
        None if pairs is None else tuple((fixed, moving) for fixed, moving in pairs),
        make_label_table(map(tuple, labels)) if labels else None,
        affine,
        frozenset(document["without_images"]),
        tuple(document["skipped"]),
    )
