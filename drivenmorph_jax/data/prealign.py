"""Subjects brought onto one common grid, once: affine alignment, resampling, scaling, a cache."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from drivenmorph_jax.alignment import align
from drivenmorph_jax.data.cache import (
    PREPARATION_VERSION,
    CachedSubjects,
    read_cached,
    write_cached,
)
from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import SubjectFile
from drivenmorph_jax.data.reading import read_image, read_subject
from drivenmorph_jax.data.subject import NativeLabels, Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Volume, resample, working_grid
from drivenmorph_jax.images.brain_on_grid import brain_on_grid
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.progress import Say

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

# Share of the reference's brain that the common grid has to hold.
_SMALLEST_FIT = 0.98


class Reference(NamedTuple):
    """What defines the common space: the image that all are aligned to, and the grid around it."""

    path: Path
    volume: Volume
    grid: Grid


def open_reference(cfg: DataConfig, training: Sequence[SubjectFile]) -> Reference:
    """The configured reference, or the first training subject, with the common grid around it.

    The grid runs along R, A, S, centred on the reference's brain, on its voxels where the spacing
    agrees (then a subject already in this space is cropped and padded, not interpolated).

    Raises:
      InputError: there is no reference, or its brain does not fit the grid's shape.
    """
    path, volume = _read_reference(cfg, training)
    x, y, z = cfg.spacing or (float(step) for step in volume.spacing)
    grid = working_grid(volume, (x, y, z), shape=cfg.shape)
    _check_fit(volume, grid, path)
    return Reference(path, volume, grid)


def _read_reference(cfg: DataConfig, training: Sequence[SubjectFile]) -> tuple[Path, Volume]:
    if cfg.reference is not None:
        path = user_path(cfg.reference)
        return path, read_image(path)
    for file in training:
        try:
            return file.image_path, read_image(file.image_path)
        except InputError:
            if cfg.on_bad_image == "stop" or file is training[-1]:
                raise
    raise InputError("no training subject and no data.reference: no common grid")


def prepare(
    files: Sequence[SubjectFile],
    reference: Reference,
    cfg: DataConfig,
    *,
    progress: Say = _log.info,
    skip: Callable[[str, InputError], None] | None = None,
) -> Sequence[Subject]:
    """The subjects on the common grid, in order; each is worked out once and then cached.

    Safe to run in several processes at once: files appear in the cache complete or not at all.

    Args:
      files: where the subjects are.
      reference: the common space.
      cfg: whether to align, where to cache, whether to keep all in memory.
      progress: called with a line for every subject that has to be worked out.
      skip: called with name and error of a subject that cannot be read, or that lies outside the
        grid; it is then left out. None: such a subject ends all.

    Raises:
      InputError: such a subject, where none may be skipped; a cache that cannot be written.
    """

    def attempt(file: SubjectFile, step: Callable[[], Result]) -> Result | None:
        try:
            return step()
        except InputError as error:
            if skip is None:
                raise
            skip(file.name, error)
            return None

    folder = cache_folder(cfg)
    shared = _shared_by_all(reference, cfg)
    keys = [(file, attempt(file, lambda f=file: _key(f, shared))) for file in files]
    paths = {file: folder / f"{_safe(file.name)}-{key}.npz" for file, key in keys if key}
    missing = [f for f, path in paths.items() if read_cached(path, check_only=True) is None]
    start = time.monotonic()
    for done, file in enumerate(missing, start=1):
        subject = attempt(file, lambda f=file: _work_out(f, reference, cfg))
        if subject is None:
            del paths[file]
            continue
        write_cached(paths[file], subject)
        left = (time.monotonic() - start) / done * (len(missing) - done)
        progress(f"prepared {file.name}: {done} of {len(missing)}, {left:.0f} s left")
    subjects = CachedSubjects(tuple(f.name for f in paths), tuple(paths.values()))
    if not cfg.in_memory:
        return subjects
    held = [attempt(file, lambda i=index: subjects[i]) for index, file in enumerate(paths)]
    return tuple(subject for subject in held if subject is not None)


def cache_folder(cfg: DataConfig) -> Path:
    """The configured folder, or `drivenmorph/subjects` in the user's cache."""
    if cfg.cache is not None:
        return user_path(cfg.cache)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "drivenmorph" / "subjects"


def _check_fit(volume: Volume, grid: Grid, path: Path) -> None:
    brain = np.argwhere(volume.data != 0)
    pull = np.linalg.inv(grid.affine) @ volume.affine
    voxels = brain @ pull[:3, :3].T + pull[:3, 3]
    inside = ((voxels > -0.5) & (voxels < np.array(grid.shape) - 0.5)).all(axis=1).mean()
    if inside < _SMALLEST_FIT:
        needed = np.ceil(np.ptp(voxels, axis=0)).astype(int) + 1
        raise InputError(
            f"data.shape {list(grid.shape)} holds {inside:.0%} of the brain of {path}: "
            f"it needs {needed.tolist()} at this spacing"
        )


def _work_out(file: SubjectFile, reference: Reference, cfg: DataConfig) -> Subject:
    image, labels = read_subject(file)
    matrix = np.eye(4)
    if cfg.prealign and not _same_file(file.image_path, reference.path):
        fixed, moving = reference.volume, image
        # As NumPy arrays: the search pads them on the host, without a compilation per shape.
        arrays: tuple[Any, ...] = (fixed.data, moving.data, fixed.affine, moving.affine)
        found = align(*arrays, kind="affine", similarity="ncc")
        matrix = np.asarray(found.matrix, np.float64)
    shape, affine = reference.grid
    on_grid = brain_on_grid(image, reference.grid, matrix=matrix)
    if on_grid is None:
        raise InputError(
            f"{file.name}: nothing of {file.image_path} falls on the common grid: "
            "set data.prealign to true, or choose data.shape and data.reference to hold it"
        )
    image_out = on_grid.astype(np.float16)
    if labels is None:
        return Subject(file.name, image_out)
    common = resample(labels, shape, affine, matrix=matrix, order=0).data
    pull = np.linalg.inv(labels.affine) @ matrix @ affine
    native = NativeLabels(_smallest(labels.data), pull)
    return Subject(file.name, image_out, _smallest(common), native)


def _smallest(labels: Integer[ndarray, "x y z"]) -> Integer[ndarray, "x y z"]:
    return labels.astype(np.min_scalar_type(int(labels.max())))


def _shared_by_all(reference: Reference, cfg: DataConfig) -> list[Any]:
    """What every prepared subject depends on beside its own files."""
    return [
        PREPARATION_VERSION,
        _identity(reference.path),
        list(reference.grid.shape),
        reference.grid.affine.round(6).tolist(),
        cfg.prealign,
    ]


def _key(file: SubjectFile, shared: list[Any]) -> str:
    """Hash of all that a prepared subject depends on."""
    own = [_identity(path) if path else None for path in (file.image_path, file.labels_path)]
    return hashlib.sha256(json.dumps([*shared, *own]).encode()).hexdigest()[:16]


def _identity(path: Path) -> str:
    """Of the content: a data set that was copied or fetched again is not prepared again."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"no file {path}: {error.strerror}") from None


def _same_file(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
