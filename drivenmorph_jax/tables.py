"""Tables in text files: CSV, or separated by tabs."""

import csv
from pathlib import Path

from drivenmorph_jax.errors import InputError


def read_rows(path: Path, title: str, *, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """Every row that is not blank with its line, from 1, and its cells without spaces around them.

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
            return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        kind = "CSV" if delimiter == "," else "text"
        raise InputError(f"{title}: is not a readable {kind} file: write it again") from error
