"""All that a run needs of its data: subjects in memory, pairs, labels, for any layout."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.label_maps import list_label_maps
from drivenmorph_jax.data.labels import LabelTable, make_label_table
from drivenmorph_jax.data.listing import Listing, SubjectFile, require_unique
from drivenmorph_jax.data.phantom import phantom_pair
from drivenmorph_jax.data.prealign import Reference, open_reference, prepare
from drivenmorph_jax.data.protocols import label_table
from drivenmorph_jax.data.sources import list_subjects
from drivenmorph_jax.data.split import cyclic_pairs, split_by_hash
from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.progress import Say

_log = logging.getLogger(__name__)
IndexPairs = tuple[tuple[int, int], ...]

# Phantoms reported and phantoms trained on come from seeds this far apart.
_VALIDATION_SEEDS = 1_000_000


class TrainingData(NamedTuple):
    """Subjects to train on.

    Attributes:
      subjects: on the common grid.
      pairs: (fixed, moving) indices to draw from; None: any two different subjects.
      label_table: None where the data's protocol is unknown.
      skipped: names of the listed subjects that cannot be used.
    """

    subjects: Sequence[Subject]
    pairs: IndexPairs | None
    label_table: LabelTable | None
    skipped: tuple[str, ...] = ()


class EvaluationData(NamedTuple):
    """Pairs to evaluate on.

    Attributes:
      subjects: on the common grid.
      pairs: (fixed, moving) indices.
      label_table: the labels to score; where the protocol is unknown, every label there is.
      affine: (4, 4) of the common grid, voxel to RAS mm.
      truth: the true displacement of each pair, (D, H, W, 3) voxels; None for real data.
    """

    subjects: Sequence[Subject]
    pairs: IndexPairs
    label_table: LabelTable | None
    affine: Float[ndarray, "4 4"]
    truth: tuple[Float[ndarray, "d h w 3"], ...] | None = None


def load_training(
    cfg: DataConfig, *, progress: Say = _log.info
) -> tuple[TrainingData, EvaluationData]:
    """What to train on, and the held-out part of it for the evaluation during training.

    With given pairs, `data.holdout` of them are held out; else that many subjects, in cyclic pairs.

    Raises:
      InputError: data that is missing or unusable, or too few subjects.
    """
    if cfg.format == "phantom":
        seeds = range(cfg.phantom_training)
        kept, held = split_by_hash([str(s) for s in seeds], cfg.holdout, seed=cfg.seed)
        data = _phantoms(cfg, [int(s) for s in kept], progress)
        return (
            TrainingData(data.subjects, data.pairs, data.label_table),
            _phantoms(cfg, [int(s) for s in held], progress),
        )
    listing = list_subjects(cfg)
    reference = open_reference(cfg, listing.training)
    table = _configured_table(cfg, listing)
    extra = list_label_maps(cfg.label_maps) if cfg.label_maps else ()
    listed = require_unique((*listing.training, *extra))
    files, subjects, skipped = _usable(listed, reference, cfg, progress)
    index = {file.name: i for i, file in enumerate(files)}
    with_images = {file.name for file in listing.training}
    if listing.training_pairs is None:
        names = [name for name in index if name in with_images]
        kept, held = split_by_hash(names, cfg.holdout, seed=cfg.seed)
        kept = [*kept, *(name for name in index if name not in with_images)]
        chosen = _choose(subjects, [index[name] for name in kept])
        training = TrainingData(chosen, None, table, skipped)
        held_pairs = cyclic_pairs(held) if held else ()
    elif extra:
        raise InputError("data.label_maps goes with any two subjects, not with given pairs")
    else:
        pairs = tuple(pair for pair in listing.training_pairs if set(pair) <= index.keys())
        kept_pairs, held_pairs = _hold_out_pairs(pairs, cfg)
        training = TrainingData(subjects, _indices(kept_pairs, index), table, skipped)
    holdout = _evaluation(files, held_pairs, subjects, table, reference)
    return training, holdout


def _usable(
    files: tuple[SubjectFile, ...], reference: Reference, cfg: DataConfig, progress: Say
) -> tuple[tuple[SubjectFile, ...], Sequence[Subject], tuple[str, ...]]:
    """The files that can be used, their subjects, and the names of the others, where skipped."""
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
    used = tuple(file for file in files if file.name not in skipped)
    return used, subjects, tuple(file.name for file in files if file.name in skipped)


def load_validation(cfg: DataConfig, *, progress: Say = _log.info) -> EvaluationData:
    """The reported pairs, on the same common grid as the training data.

    Raises:
      InputError: data that is missing or unusable, or no validation subjects.
    """
    if cfg.format == "phantom":
        first = _VALIDATION_SEEDS
        return _phantoms(cfg, range(first, first + cfg.phantom_validation), progress)
    listing = list_subjects(cfg)
    if not listing.validation:
        raise InputError("no validation subjects: set data.validation_path or data.validation")
    reference = open_reference(cfg, listing.training)
    subjects = prepare(listing.validation, reference, cfg, progress=progress)
    pairs = listing.validation_pairs
    if pairs is None:
        pairs = cyclic_pairs([file.name for file in listing.validation])
    table = _configured_table(cfg, listing)
    return _evaluation(listing.validation, pairs, subjects, table, reference)


def _phantoms(cfg: DataConfig, seeds: Sequence[int], progress: Say) -> EvaluationData:
    subjects, truth = [], []
    # Runs with another seed see other phantoms, training and validation never share one.
    for seed in seeds:
        pair = phantom_pair(
            cfg.seed * 10 * _VALIDATION_SEEDS + seed, cfg.shape, deformation=cfg.phantom_deformation
        )
        fixed, moving = pair.fixed.astype(np.float16), pair.moving.astype(np.float16)
        subjects += [
            Subject(f"phantom{seed}_fixed", fixed, pair.fixed_labels.astype(np.uint8)),
            Subject(f"phantom{seed}_moving", moving, pair.moving_labels.astype(np.uint8)),
        ]
        truth.append(pair.true_displacement)
    progress(f"made {len(truth)} phantom pairs")
    pairs = tuple((2 * i, 2 * i + 1) for i in range(len(truth)))
    table = label_table(cfg.labels or "freesurfer")
    return EvaluationData(tuple(subjects), pairs, table, np.eye(4), tuple(truth))


def _hold_out_pairs(
    pairs: tuple[tuple[str, str], ...], cfg: DataConfig
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs to train on, and those held out; a held-out pair is not trained on backwards either."""
    _, held = split_by_hash(["\0".join(pair) for pair in pairs], cfg.holdout, seed=cfg.seed)
    chosen = {frozenset(text.split("\0")) for text in held}
    kept = [pair for pair in pairs if frozenset(pair) not in chosen]
    if not kept:
        raise InputError("data.holdout leaves no training pair: lower it")
    return kept, [pair for pair in pairs if "\0".join(pair) in set(held)]


def _evaluation(
    files: Sequence[SubjectFile],
    pairs: Sequence[tuple[str, str]],
    subjects: Sequence[Subject],
    table: LabelTable | None,
    reference: Reference,
) -> EvaluationData:
    """The pairs with only the subjects that are in one."""
    used = {name for pair in pairs for name in pair}
    chosen = [i for i, file in enumerate(files) if file.name in used]
    index = {files[i].name: position for position, i in enumerate(chosen)}
    part = _choose(subjects, chosen)
    if table is None:
        table = _table_of_what_is_there(part)
    return EvaluationData(part, _indices(pairs, index), table, reference.grid.affine)


def _choose(subjects: Sequence[Subject], indices: Sequence[int]) -> Sequence[Subject]:
    choose = getattr(subjects, "choose", None)
    return choose(indices) if choose else tuple(subjects[i] for i in indices)


def _indices(pairs: Sequence[tuple[str, str]], index: dict[str, int]) -> IndexPairs:
    return tuple((index[fixed], index[moving]) for fixed, moving in pairs)


def _configured_table(cfg: DataConfig, listing: Listing) -> LabelTable | None:
    source = cfg.labels or listing.labels
    return None if source is None else label_table(source)


def _table_of_what_is_there(subjects: Sequence[Subject]) -> LabelTable | None:
    """Every label of any subject, by number; None where nobody has labels."""
    values: set[int] = set()
    for subject in subjects:
        if subject.labels is not None:
            values.update(int(value) for value in np.unique(subject.labels))
    entries = [(value, f"label {value}") for value in sorted(values - {0})]
    return make_label_table(entries) if entries else None
