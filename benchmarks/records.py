"""Figures kept in files: what a script continues from."""

import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from drivenmorph_jax.images.writing import write_atomically

Record = dict[str, Any]


def digest(version: int, *parts: Any) -> str:
    """Short hash of plain values and arrays, and of the version of the script that made them."""
    content = hashlib.sha256(str(version).encode())
    for part in parts:
        is_array = isinstance(part, np.ndarray)
        content.update(part.tobytes() if is_array else json.dumps(part, sort_keys=True).encode())
    return content.hexdigest()[:12]


def read_record(path: pathlib.Path) -> Record:
    return json.loads(path.read_text())


def write_record(path: pathlib.Path, document: Any) -> None:
    """Whole or not at all; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
