"""The pairs of a batch, from a CSV file."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from drivenmorph_jax.data.listing import strip_image_suffix
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.tables import read_table

_IMAGES = ("fixed", "moving")
_LABELS = ("fixed_labels", "moving_labels")
_LESIONS = ("fixed_lesion", "moving_lesion")
_FILES = (*_IMAGES, "fixed_mask", "moving_mask", *_LABELS, *_LESIONS, "initial_affine")
COLUMNS = ("name", *_FILES)
"""Of the CSV file; all but `fixed` and `moving` may be left out, or left empty in a row."""

RESULTS = "results.csv"
INDEX = "index.html"
"""Beside the pairs' folders, none of which may have their names."""

_FOLDER_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*")

Record = dict[str, str]


class Pair(NamedTuple):
    """What to register, and where the results go.

    Attributes:
        name: of the results' folder.
        files: absolute paths, by the argument of `register_files` that each is.
    """

    name: str
    files: Mapping[str, Path]


def read_pairs(path: str | os.PathLike[str]) -> list[Pair]:
    """Read a CSV file with a header; relative paths in it start at its own folder.

    Whether the images exist and can be used is not asked here: that is for each pair alone.

    Raises:
        InputError: the file cannot be read, a column is not known, missing or there twice, a row
            lacks an image or has the labels of one only, or two pairs would share a folder.
    """
    title = f"pairs {path}"
    folder = user_path(path).absolute().parent.resolve()
    records = _read(user_path(path), title)
    pairs: list[Pair] = []
    lines: dict[str, int] = {}
    for line, record in records:
        pair = _pair(record, folder, f"{title}, line {line}")
        # Some file systems do not tell capitals from small letters.
        earlier = lines.setdefault(pair.name.casefold(), line)
        if earlier != line:
            raise InputError(
                f"{title}, line {line}: its results would go to {pair.name!r}, as those of line "
                f"{earlier}: give both a name of their own in a column 'name'"
            )
        pairs.append(pair)
    if not pairs:
        raise InputError(f"{title}: holds no pair: write one a line, under fixed,moving")
    return pairs


def _read(path: Path, title: str) -> list[tuple[int, Record]]:
    """The rows that are not blank, each with its line; the header is checked."""
    (line, header), rows = read_table(path, title)
    if not header:
        raise InputError(f"{title}: is empty: begin with a line fixed,moving")
    _check_header(header, f"{title}, line {line}")
    return [(line, _record(header, cells, f"{title}, line {line}")) for line, cells in rows]


def _check_header(header: Sequence[str], title: str) -> None:
    known = ",".join(COLUMNS)
    for name in header:
        if name not in COLUMNS:
            raise InputError(
                f"{title}: column {name!r} is not known: choose among {known}, with commas between"
            )
        if header.count(name) > 1:
            raise InputError(f"{title}: column {name!r} is there twice: leave one")
    for name in _IMAGES:
        if name not in header:
            raise InputError(f"{title}: has no column {name!r}: begin with fixed,moving")


def _record(header: Sequence[str], row: Sequence[str], title: str) -> Record:
    if any(row[len(header) :]):
        raise InputError(
            f"{title}: has {len(row)} cells for {len(header)} columns: put a path with a comma in "
            "quotes"
        )
    return dict(zip(header, row, strict=False))


def _pair(record: Record, folder: Path, title: str) -> Pair:
    # os.path's leaves a ~name that it does not know, where pathlib's raises.
    files = {
        role: folder / os.path.expanduser(entry)  # noqa: PTH111
        for role in _FILES
        if (entry := record.get(role))
    }
    for role in _IMAGES:
        if role not in files:
            raise InputError(f"{title}: names no {role} image: fill in the column {role!r}")
    if len(files.keys() & set(_LABELS)) == 1:
        raise InputError(f"{title}: has labels of one image only: give those of both, or neither")
    fixed, moving = (strip_image_suffix(files[role]) for role in _IMAGES)
    name = record.get("name") or f"{moving}_to_{fixed}"
    if not _FOLDER_NAME.fullmatch(name) or name.casefold() in (RESULTS, INDEX):
        raise InputError(
            f"{title}: {name!r} cannot be the results' folder: give a name without / and \\ that "
            "begins with no dot, in a column 'name'"
        )
    return Pair(name, files)
