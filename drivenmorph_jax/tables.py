"""Tables in text files: CSV, or separated by tabs."""

import csv
from pathlib import Path
from typing import NamedTuple

from drivenmorph_jax.errors import InputError


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        line: its number in the file, from 1.
        cells: without spaces around them.
    """

    line: int
    cells: list[str]


def read_table(path: Path, title: str, *, delimiter: str = ",") -> tuple[Row, list[Row]]:
    """The header, and every row that has something in a cell; an empty file has an empty header.

    Args:
        path: the file; UTF-8, with or without a mark.
        title: names the file in the message.
        delimiter: between cells.

    Raises:
        InputError: there is no such file, or it is not such a text.
    """
    if not path.is_file():
        raise InputError(f"{title}: no such file: check the path")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            rows = [Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        kind = "CSV" if delimiter == "," else "text"
        raise InputError(f"{title}: is not a readable {kind} file: write it again") from error
    header, *others = [row for row in rows if any(row.cells)] or [Row(1, [])]
    return header, others
