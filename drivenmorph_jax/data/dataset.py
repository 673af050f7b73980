"""All that a run needs of its data: subjects in memory, pairs, labels, for any layout."""

import logging
from collections.abc import Callable, Sequence
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

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
IndexPairs = tuple[tuple[int, int], ...]

# Phantoms reported and phantoms trained on come from seeds this far apart.
_VALIDATION_SEEDS = 1_000_000


class TrainingData(NamedTuple):
    """Subjects to train on.

    Attributes:
      subjects: on the common grid.
      pairs: (fixed, moving) indices to draw from; None: any two different subjects.
      label_table: None where the data's protocol is unknown.
    """

    subjects: Sequence[Subject]
    pairs: IndexPairs | None
    label_table: LabelTable | None


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
    cfg: DataConfig, *, progress: Progress = _log.info
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
    files = require_unique((*listing.training, *extra))
    subjects = prepare(files, reference, cfg, progress=progress)
    names = [file.name for file in listing.training]
    index = {file.name: i for i, file in enumerate(files)}
    if listing.training_pairs is None:
        kept, held = split_by_hash(names, cfg.holdout, seed=cfg.seed)
        kept = [*kept, *(file.name for file in extra)]
        training = TrainingData(_choose(subjects, [index[n] for n in kept]), None, table)
        held_pairs = cyclic_pairs(held) if held else ()
    elif extra:
        raise InputError("data.label_maps goes with any two subjects, not with given pairs")
    else:
        kept_pairs, held_pairs = _hold_out_pairs(listing.training_pairs, cfg)
        training = TrainingData(subjects, _indices(kept_pairs, index), table)
    holdout = _evaluation(listing.training, held_pairs, subjects, table, reference)
    return training, holdout


def load_validation(cfg: DataConfig, *, progress: Progress = _log.info) -> EvaluationData:
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


def _phantoms(cfg: DataConfig, seeds: Sequence[int], progress: Progress) -> EvaluationData:
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
