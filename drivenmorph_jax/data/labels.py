"""Tables of anatomical labels: names, the other side of each, consecutive numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.tables import read_table

_OTHER_SIDE = {"Left-": "Right-", "Right-": "Left-"}


@dataclass(frozen=True)
class LabelTable:
    """Label values with their names, in the table's order; the background, 0, is never in it."""

    values: tuple[int, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def swaps(self) -> dict[int, int]:
        """The value of the other side, for every label named Left-… or Right-…"""
        by_name = dict(zip(self.names, self.values, strict=True))
        swaps = {}
        for name, value in by_name.items():
            side = name.split("-")[0] + "-"
            if side in _OTHER_SIDE:
                other = _OTHER_SIDE[side] + name.removeprefix(side)
                if other in by_name:
                    swaps[value] = by_name[other]
        return swaps

    @property
    def structures(self) -> tuple[int, ...]:
        """Of every label the value of its structure, which both sides share: the smaller of two."""
        return tuple(min(value, self.swaps.get(value, value)) for value in self.values)

    def swap_sides(self, labels: Integer[ndarray, "d h w"]) -> Integer[ndarray, "d h w"]:
        """Labels with left and right exchanged; labels without a side stay."""
        lookup = np.arange(_lookup_size(labels, self.values), dtype=np.int32)
        for value, other in self.swaps.items():
            lookup[value] = other
        return lookup[labels]

    def consecutive(self, labels: Integer[ndarray, "d h w"]) -> Integer[ndarray, "d h w"]:
        """1 for the table's first label, 2 for its second …; 0 for all that is not in it."""
        lookup = np.zeros(_lookup_size(labels, self.values), np.int32)
        lookup[list(self.values)] = np.arange(1, len(self.values) + 1)
        return lookup[labels]


def read_label_table(path: str | Path) -> LabelTable:
    """The table of a tab-separated file with the columns `label` and `name`.

    Raises:
      InputError: no such file, or not such a table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no label table at {path}: set data.labels to a .tsv of (label, name)")
    header, rows = read_table(path, f"label table {path}", delimiter="\t")
    try:
        value, name = header.cells.index("label"), header.cells.index("name")
        entries = [(int(cells[value]), cells[name]) for _, cells in rows]
    except (IndexError, ValueError):
        raise InputError(
            f"label table {path}: needs tab-separated columns 'label' (an integer) and 'name'"
        ) from None
    return make_label_table(entries, source=str(path))


def make_label_table(entries: Iterable[tuple[int, str]], *, source: str = "labels") -> LabelTable:
    """A checked table of (value, name); `source` is what an error calls it.

    Raises:
      InputError: an empty table, a value or a name twice, or a value below 1.
    """
    values, names = [], []
    for value, name in entries:
        if value < 1:
            raise InputError(f"label table {source}: {value} is not a label, they start at 1")
        if value in values or name in names:
            raise InputError(f"label table {source}: {value} {name} is there twice")
        values.append(value)
        names.append(name)
    if not values:
        raise InputError(f"label table {source} is empty")
    return LabelTable(tuple(values), tuple(names))


def _lookup_size(labels: Integer[ndarray, "d h w"], values: tuple[int, ...]) -> int:
    return max(int(labels.max(initial=0)), *values) + 1
