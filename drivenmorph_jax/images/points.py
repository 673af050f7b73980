"""Points in space, in CSV files with the columns x, y, z (RAS mm)."""

import csv
import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.tables import read_table
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
    header, filled = read_table(pathlib.Path(path), title)
    columns = tuple(header.cells)
    rows = tuple(dict(zip(columns, cells, strict=False)) for _, cells in filled)
    missing = [axis for axis in _AXES if axis not in columns]
    if missing:
        raise InputError(f"{title}: has no column {', '.join(missing)}: begin with x,y,z (RAS mm)")
    points = np.empty((len(rows), 3))
    for number, ((line, _), row) in enumerate(zip(filled, rows, strict=True)):
        try:
            points[number] = [float(row[axis]) for axis in _AXES]
        except (ValueError, KeyError) as error:
            raise InputError(f"{title}, line {line}: x, y, z are not numbers") from error
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
