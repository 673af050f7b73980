"""Figures kept in files: what a script continues from."""

import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from drivenmorph_jax.writing import write_atomically

Record = dict[str, Any]

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
"""Kept with the code: what took hours, pair by pair, and the tables made of it."""


def digest(version: int, *parts: Any) -> str:
    """Short hash of plain values and arrays, and of the version of the script that made them."""
    content = hashlib.sha256(str(version).encode())
    for part in parts:
        is_array = isinstance(part, np.ndarray)
        content.update(part.tobytes() if is_array else json.dumps(part, sort_keys=True).encode())
    return content.hexdigest()[:12]


def read_record(path: pathlib.Path) -> Record:
    return json.loads(path.read_text())


class Ledger:
    """Records by key in one file, a line each, read once and rewritten whole at every new one."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self._records: dict[str, Record] = dict(map(json.loads, lines))

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> Record:
        return self._records[key]

    def add(self, key: str, record: Record) -> None:
        """Whole or not at all; folders are made."""
        self._records[key] = record
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{json.dumps(entry)}\n" for entry in self._records.items())
        write_atomically(self._path, lambda temporary: temporary.write_text(text))


def write_record(path: pathlib.Path, document: Any) -> None:
    """Whole or not at all; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
