"""Subjects brought onto one common grid, once: affine alignment, resampling, scaling, a cache."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from drivenmorph_jax.alignment import align
from drivenmorph_jax.data.cache import CachedSubjects, read_cached, write_cached
from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import SubjectFile
from drivenmorph_jax.data.reading import read_image, read_subject
from drivenmorph_jax.data.subject import NativeLabels, Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Grid, Volume, resample, working_grid
from drivenmorph_jax.progress import Say

_log = logging.getLogger(__name__)

# Part of every key: raise it whenever a prepared subject would come out differently.
PREPARATION_VERSION = 2
_BRIGHT_PERCENTILE = 99.9
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
    if cfg.reference is not None:
        path = Path(cfg.reference).expanduser()
    elif training:
        path = training[0].image_path
    else:
        raise InputError("no training subject and no data.reference: no common grid")
    volume = read_image(path)
    x, y, z = cfg.spacing or (float(step) for step in volume.spacing)
    grid = working_grid(volume, (x, y, z), shape=cfg.shape)
    _check_fit(volume, grid, path)
    return Reference(path, volume, grid)


def prepare(
    files: Sequence[SubjectFile],
    reference: Reference,
    cfg: DataConfig,
    *,
    progress: Say = _log.info,
) -> Sequence[Subject]:
    """The subjects on the common grid, in order; each is worked out once and then cached.

    Safe to run in several processes at once: files appear in the cache complete or not at all.

    Args:
      files: where the subjects are.
      reference: the common space.
      cfg: whether to align, where to cache, whether to keep all in memory.
      progress: called with a line for every subject that has to be worked out.

    Raises:
      InputError: a subject that cannot be read, or that lies outside the grid.
    """
    folder = cache_folder(cfg)
    paths = [folder / f"{_safe(f.name)}-{_key(f, reference, cfg)}.npz" for f in files]
    missing = [i for i, path in enumerate(paths) if read_cached(path, check_only=True) is None]
    start = time.monotonic()
    for done, index in enumerate(missing):
        write_cached(paths[index], _work_out(files[index], reference, cfg))
        left = (time.monotonic() - start) / (done + 1) * (len(missing) - done - 1)
        progress(f"prepared {files[index].name}: {done + 1} of {len(missing)}, {left:.0f} s left")
    subjects = CachedSubjects(tuple(f.name for f in files), tuple(paths))
    return tuple(subjects) if cfg.in_memory else subjects


def cache_folder(cfg: DataConfig) -> Path:
    """The configured folder, or `drivenmorph/subjects` in the user's cache."""
    if cfg.cache is not None:
        return Path(cfg.cache).expanduser()
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
        found = align(*arrays, kind="affine")
        matrix = np.asarray(found.matrix, np.float64)
    shape, affine = reference.grid
    intensity = np.maximum(resample(image, shape, affine, matrix=matrix, order=1).data, 0)
    inside = intensity[intensity > 0]
    if len(inside) == 0:
        raise InputError(
            f"{file.name}: nothing of {file.image_path} falls on the common grid: "
            "set data.prealign to true, or choose data.shape and data.reference to hold it"
        )
    image_out = (intensity / np.percentile(inside, _BRIGHT_PERCENTILE)).astype(np.float16)
    if labels is None:
        return Subject(file.name, image_out)
    common = resample(labels, shape, affine, matrix=matrix, order=0).data
    pull = np.linalg.inv(labels.affine) @ matrix @ affine
    native = NativeLabels(_smallest(labels.data), pull)
    return Subject(file.name, image_out, _smallest(common), native)


def _smallest(labels: Integer[ndarray, "x y z"]) -> Integer[ndarray, "x y z"]:
    return labels.astype(np.min_scalar_type(int(labels.max())))


def _key(file: SubjectFile, reference: Reference, cfg: DataConfig) -> str:
    """Hash of all that a prepared subject depends on."""
    parts: list[Any] = [
        PREPARATION_VERSION,
        _identity(file.image_path),
        _identity(file.labels_path) if file.labels_path else None,
        _identity(reference.path),
        list(reference.grid.shape),
        reference.grid.affine.round(6).tolist(),
        cfg.prealign,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _identity(path: Path) -> list[Any]:
    """Path, size and time of change: content is not read, so that a full cache opens at once."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"no file {path}: {error.strerror}") from None
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _same_file(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
