"""Figures kept in files: what a script continues from."""

import hashlib
import json
import pathlib
from collections.abc import Iterator
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
    """Records by key in one file, a line each, rewritten whole at every new one."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._records = self._read()

    def _read(self) -> dict[str, Record]:
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        return dict(map(json.loads, lines))

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> Record:
        return self._records[key]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        """Oldest first."""
        return iter(self._records.values())

    def get(self, key: str) -> Record | None:
        return self._records.get(key)

    def add(self, key: str, record: Record) -> None:
        """Whole or not at all; folders are made. What others have added meanwhile is kept."""
        self._records = {**self._read(), key: record}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{json.dumps(entry)}\n" for entry in self._records.items())
        write_atomically(self._path, lambda temporary: temporary.write_text(text))


def write_record(path: pathlib.Path, document: Any) -> None:
    """Whole or not at all; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
