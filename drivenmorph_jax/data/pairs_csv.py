"""A CSV of pairs: columns fixed, moving and, with labels, fixed_labels, moving_labels."""

import itertools
from pathlib import Path

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import Listing, SubjectFile, strip_image_suffix
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.tables import read_table

_COLUMNS = {"fixed", "moving", "fixed_labels", "moving_labels"}
Pairs = tuple[tuple[str, str], ...]


def list_pairs_csv(cfg: DataConfig) -> Listing:
    """Training pairs of `data.path`, reported pairs of `data.validation_path`.

    Raises:
      InputError: no such file, a column or an image missing, an image with two label maps, or a
        subject in both files.
    """
    if cfg.path is None:
        raise InputError("data.path is not set: give the CSV of training pairs")
    training, training_pairs = _read(user_path(cfg.path))
    if cfg.validation_path is None:
        return Listing(training, (), training_pairs, ())
    validation, validation_pairs = _read(user_path(cfg.validation_path))
    return Listing(training, validation, training_pairs, validation_pairs)


def _read(path: Path) -> tuple[tuple[SubjectFile, ...], Pairs]:
    if not path.is_file():
        raise InputError(f"no CSV of pairs at {path}: set data.path (or data.validation_path)")
    (_, columns), rows = read_table(path, f"pairs {path}")
    if not {"fixed", "moving"} <= set(columns) or set(columns) - _COLUMNS:
        raise InputError(
            f"{path}: needs the columns fixed,moving[,fixed_labels,moving_labels], "
            f"has {','.join(sorted(columns)) or 'none'}"
        )
    if not rows:
        raise InputError(f"{path} holds no pairs")
    files: dict[str, SubjectFile] = {}
    pairs = []
    for line, cells in rows:
        if any(cells[len(columns) :]):
            raise InputError(
                f"{path}, line {line}: has {len(cells)} cells for {len(columns)} columns: put a "
                "path with a comma in quotes"
            )
        row = dict(itertools.zip_longest(columns, cells[: len(columns)], fillvalue=""))
        pair = tuple(_add(files, row, side, path, line) for side in ("fixed", "moving"))
        if pair[0] == pair[1]:
            raise InputError(f"{path}, line {line}: fixed and moving are the same image")
        pairs.append(pair)
    return tuple(files.values()), tuple(pairs)


def _add(
    files: dict[str, SubjectFile], row: dict[str, str], side: str, table: Path, line: int
) -> str:
    """The name of one side's subject, put into `files` where it is new."""
    image = _resolve(row[side], table, line)
    labels = row.get(f"{side}_labels")
    # The path as written tells apart files of one name in different folders.
    name = strip_image_suffix(Path(row[side])) if Path(row[side]).parent == Path() else row[side]
    file = SubjectFile(name, image, _resolve(labels, table, line) if labels else None)
    known = files.setdefault(name, file)
    if known.labels_path is None and file.labels_path is not None:
        files[name] = file
    elif file.labels_path not in (None, known.labels_path):
        raise InputError(f"{table}, line {line}: {name} has other labels than before")
    return name


def _resolve(entry: str, table: Path, line: int) -> Path:
    path = table.parent / user_path(entry)
    if not path.is_file():
        raise InputError(f"{table}, line {line}: no file {path} (paths start at the CSV's folder)")
    return path
