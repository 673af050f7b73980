"""The subjects of a config from their files, on the common grid."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.label_maps import list_label_maps
from drivenmorph_jax.data.labels import LabelTable
from drivenmorph_jax.data.listing import Listing, SubjectFile, require_unique
from drivenmorph_jax.data.prealign import Reference, open_reference, prepare
from drivenmorph_jax.data.prepared import Prepared, claim_folder, save_prepared
from drivenmorph_jax.data.protocols import label_table
from drivenmorph_jax.data.sources import list_subjects
from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.progress import Say

_log = logging.getLogger(__name__)


def gather_training(cfg: DataConfig, progress: Say) -> Prepared:
    """The subjects to train on, those to be held out among them.

    Raises:
      InputError: data that is missing or unusable.
    """
    listing = list_subjects(cfg)
    reference = open_reference(cfg, listing.training)
    extra = list_label_maps(cfg.label_maps) if cfg.label_maps else ()
    if extra and listing.training_pairs is not None:
        raise InputError("data.label_maps goes with any two subjects, not with given pairs")
    files = require_unique((*listing.training, *extra))
    subjects, skipped = _usable(files, reference, cfg, progress)
    pairs = listing.training_pairs
    if pairs is not None:
        pairs = tuple(pair for pair in pairs if not set(pair) & set(skipped))
    return Prepared(
        subjects,
        pairs,
        _configured_table(cfg, listing),
        reference.grid.affine,
        frozenset(file.name for file in extra),
        skipped,
    )


def gather_validation(cfg: DataConfig, progress: Say) -> Prepared | None:
    """The reported subjects; None where there are none.

    Raises:
      InputError: data that is missing or unusable.
    """
    listing = list_subjects(cfg)
    if not listing.validation:
        return None
    reference = open_reference(cfg, listing.training)
    return Prepared(
        prepare(listing.validation, reference, cfg, progress=progress),
        listing.validation_pairs,
        _configured_table(cfg, listing),
        reference.grid.affine,
    )


def write_prepared(cfg: DataConfig, folder: Path, *, progress: Say = _log.info) -> None:
    """All that a run needs of its data, as arrays in a folder, for `data.prepared`.

    Raises:
      InputError: data that is missing or unusable, phantoms, or a folder that cannot be used.
    """
    if cfg.format == "phantom" or cfg.prepared is not None:
        raise InputError("there is nothing to prepare: the config's data need no image files")
    claim_folder(folder)
    cfg = dataclasses.replace(cfg, in_memory=False)
    save_prepared(folder, gather_training(cfg, progress), gather_validation(cfg, progress))


def _usable(
    files: tuple[SubjectFile, ...], reference: Reference, cfg: DataConfig, progress: Say
) -> tuple[Sequence[Subject], tuple[str, ...]]:
    """The subjects that can be used, and the names of the others, where skipped."""
    skipped: list[str] = []

    def skip(name: str, error: InputError) -> None:
        skipped.append(name)
        progress(f"skipped {name}: {error}")

    may_skip = cfg.on_bad_image == "skip"
    subjects = prepare(files, reference, cfg, progress=progress, skip=skip if may_skip else None)
    if skipped and len(subjects) < 2:
        raise InputError(
            f"{len(skipped)} of {len(files)} training subjects cannot be used ("
            f"{', '.join(skipped)}): pairs need at least 2; mend the files"
        )
    return subjects, tuple(file.name for file in files if file.name in skipped)


def _configured_table(cfg: DataConfig, listing: Listing) -> LabelTable | None:
    source = cfg.labels or listing.labels
    return None if source is None else label_table(source)
