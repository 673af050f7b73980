"""Points in space, in CSV files with the columns x, y, z (RAS mm)."""

import csv
import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.writing import write_atomically

_AXES = ("x", "y", "z")


class PointTable(NamedTuple):
    """Points and what else their file says of them.

    Attributes:
        points: (N, 3), RAS mm.
        columns: names of all columns, in the file's order.
        rows: N rows of text by column; those of x, y, z are replaced by `points` when saved.
    """

    points: Float[ndarray, "n 3"]
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def load_points(path: str | os.PathLike) -> PointTable:
    """Read a CSV file with a header.

    Raises:
        InputError: the file cannot be read, lacks a column, or holds something that is no number.
    """
    title = f"points {path}"
    if not pathlib.Path(path).is_file():
        raise InputError(f"{title}: no such file: check the path")
    try:
        with pathlib.Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = tuple(name.strip() for name in reader.fieldnames or ())
            rows = tuple(
                dict(zip(columns, (value or "" for value in row.values()), strict=False))
                for row in reader
            )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{title}: is not a readable CSV file: write it again") from error
    missing = [axis for axis in _AXES if axis not in columns]
    if missing:
        raise InputError(f"{title}: has no column {', '.join(missing)}: begin with x,y,z (RAS mm)")
    points = np.empty((len(rows), 3))
    for number, row in enumerate(rows):
        try:
            points[number] = [float(row[axis]) for axis in _AXES]
        except (ValueError, KeyError) as error:
            raise InputError(f"{title}, line {number + 2}: x, y, z are not numbers") from error
    if not np.isfinite(points).all():
        raise InputError(f"{title}: holds NaN or infinite coordinates: leave those points out")
    return PointTable(points, columns, rows)


def save_points(path: str | os.PathLike, table: PointTable) -> None:
    """Write a CSV file, to a millionth of a millimetre.

    Raises:
        InputError: the file cannot be written.
    """

    def write(temporary: pathlib.Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, table.columns, lineterminator="\n")
            writer.writeheader()
            for row, point in zip(table.rows, table.points, strict=True):
                written = zip(_AXES, (f"{value:.6f}" for value in point), strict=True)
                writer.writerow({**row, **dict(written)})

    write_atomically(path, write)
