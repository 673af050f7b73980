"""Reads the subjects of a data set as examples of named structures."""

import numpy as np
from numpy import ndarray

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.labels import LabelTable
from drivenmorph_jax.data.listing import SubjectFile
from drivenmorph_jax.data.protocols import label_table
from drivenmorph_jax.data.reading import read_subject
from drivenmorph_jax.data.sources import list_subjects
from drivenmorph_jax.data.split import split_by_hash
from drivenmorph_jax.data.structures import StructureExamples
from drivenmorph_jax.errors import InputError


def gather_structures(cfg: DataConfig) -> StructureExamples:
    """The training subjects of a data set.

    Those held out of registration are held out here, too, where it draws any two subjects; where
    pairs are given, it holds out pairs, and here subjects are.

    Raises:
      InputError: data that is missing or unusable, without labels or their names, at another
        spacing, or with a brain that does not fit the grid.
    """
    if cfg.prepared is not None:
        raise InputError("data.prepared: structures are learned from the files: set it to null")
    listing = list_subjects(cfg)
    source = cfg.labels or listing.labels
    if source is None:
        raise InputError("structures need names: set data.labels to a table of labels")
    table = label_table(source)
    files = {file.name: file for file in listing.training}
    arrays = []
    for names in split_by_hash(list(files), cfg.holdout, seed=cfg.seed):
        examples = [_read(files[name], table, cfg) for name in names]
        if not examples:
            raise InputError(
                f"data.holdout is {cfg.holdout}: some subjects for each part are needed"
            )
        arrays += [np.stack(part) for part in zip(*examples, strict=True)]
    return StructureExamples(*arrays, names=structure_names(table))


def _read(file: SubjectFile, table: LabelTable, cfg: DataConfig) -> tuple[ndarray, ndarray]:
    """Image and structures of a subject, the brain's box in the middle of the grid."""
    image, labels = read_subject(file)
    if labels is None:
        raise InputError(f"image {file.image_path} has no labels: structures are learned from them")
    if cfg.spacing is not None and not np.allclose(image.spacing, cfg.spacing, rtol=0.02):
        raise InputError(
            f"image {file.image_path} has voxels of {np.round(image.spacing, 2).tolist()} mm, "
            f"data.spacing is {list(cfg.spacing)}: examples are not resampled, resample the files"
        )
    inside = np.argwhere(image.data != 0)
    if image.data.max() > np.finfo(np.float16).max:
        raise InputError(
            f"image {file.image_path} has intensities above 65504, which examples cannot hold: "
            "rescale it"
        )
    box = tuple(slice(*ends) for ends in zip(inside.min(0), inside.max(0) + 1, strict=True))
    values = sorted(set(table.structures))
    lookup = np.zeros(max(int(labels.data.max()), *table.values) + 1, np.uint8)
    for value, structure in zip(table.values, table.structures, strict=True):
        lookup[value] = 1 + values.index(structure)
    arrays = image.data[box].astype(np.float16), lookup[labels.data[box].astype(np.int64)]
    room = [size - n for size, n in zip(cfg.shape, arrays[0].shape, strict=True)]
    if min(room) < 0:
        raise InputError(
            f"the brain of {file.image_path} has {list(arrays[0].shape)} voxels, data.shape is "
            f"{list(cfg.shape)}: make it larger"
        )
    padding = [(n // 2, n - n // 2) for n in room]
    return np.pad(arrays[0], padding), np.pad(arrays[1], padding)


def structure_names(table: LabelTable) -> tuple[str, ...]:
    """Of the structures of a table, in the order of their numbers."""
    by_value = dict(zip(table.values, table.names, strict=True))
    return tuple(
        by_value[value].removeprefix("Left-").removeprefix("Right-")
        for value in sorted(set(table.structures))
    )
