"""All that a run needs of its data: subjects in memory, pairs, labels, for any layout."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.labels import LabelTable, make_label_table
from drivenmorph_jax.data.phantom import phantom_pair
from drivenmorph_jax.data.prepared import Part, Prepared, load_prepared
from drivenmorph_jax.data.protocols import label_table
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
      without_images: names of those that are label maps alone, to make images of.
    """

    subjects: Sequence[Subject]
    pairs: IndexPairs | None
    label_table: LabelTable | None
    skipped: tuple[str, ...] = ()
    without_images: frozenset[str] = frozenset()


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
    if cfg.format == "phantom" and cfg.prepared is None:
        seeds = range(cfg.phantom_training)
        kept, held = split_by_hash([str(s) for s in seeds], cfg.holdout, seed=cfg.seed)
        data = _phantoms(cfg, [int(s) for s in kept], progress)
        return (
            TrainingData(data.subjects, data.pairs, data.label_table),
            _phantoms(cfg, [int(s) for s in held], progress),
        )
    found = _subjects("training", cfg, progress)
    assert found is not None, "those to train on are always there"
    index = {name: i for i, name in enumerate(found.names)}
    if found.pairs is None:
        names = [name for name in index if name not in found.without_images]
        kept, held = split_by_hash(names, cfg.holdout, seed=cfg.seed)
        kept = [*kept, *(name for name in index if name in found.without_images)]
        chosen = _choose(found.subjects, [index[name] for name in kept])
        training = TrainingData(
            chosen, None, found.label_table, found.skipped, found.without_images
        )
        return training, _evaluation(found, cyclic_pairs(held) if held else ())
    kept_pairs, held_pairs = _hold_out_pairs(found.pairs, cfg)
    training = TrainingData(
        found.subjects, _indices(kept_pairs, index), found.label_table, found.skipped
    )
    return training, _evaluation(found, held_pairs)


def load_validation(cfg: DataConfig, *, progress: Say = _log.info) -> EvaluationData:
    """The reported pairs, on the same common grid as the training data.

    Raises:
      InputError: data that is missing or unusable, or no validation subjects.
    """
    if cfg.format == "phantom" and cfg.prepared is None:
        first = _VALIDATION_SEEDS
        return _phantoms(cfg, range(first, first + cfg.phantom_validation), progress)
    found = _subjects("validation", cfg, progress)
    if found is None:
        mend = "set data.validation_path or data.validation"
        if cfg.prepared is not None:
            mend += f", and prepare the data again, without data.prepared={cfg.prepared}"
        raise InputError(f"no validation subjects: {mend}")
    pairs = cyclic_pairs(found.names) if found.pairs is None else found.pairs
    return _evaluation(found, pairs)


def _subjects(part: Part, cfg: DataConfig, progress: Say) -> Prepared | None:
    """The subjects of a part, the held-out ones among those to train on; None where there are
    none."""
    if cfg.prepared is not None:
        return load_prepared(cfg, part)
    # What reads files is needed for files alone.
    from drivenmorph_jax.data.gathering import gather_training, gather_validation

    return (gather_training if part == "training" else gather_validation)(cfg, progress)


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


def _evaluation(found: Prepared, pairs: Sequence[tuple[str, str]]) -> EvaluationData:
    """The pairs with only the subjects that are in one."""
    used = {name for pair in pairs for name in pair}
    chosen = [i for i, name in enumerate(found.names) if name in used]
    index = {found.names[i]: position for position, i in enumerate(chosen)}
    part = _choose(found.subjects, chosen)
    table = found.label_table or _table_of_what_is_there(part)
    return EvaluationData(part, _indices(pairs, index), table, found.affine)


def _choose(subjects: Sequence[Subject], indices: Sequence[int]) -> Sequence[Subject]:
    choose = getattr(subjects, "choose", None)
    return choose(indices) if choose else tuple(subjects[i] for i in indices)


def _indices(pairs: Sequence[tuple[str, str]], index: dict[str, int]) -> IndexPairs:
    return tuple((index[fixed], index[moving]) for fixed, moving in pairs)


def _table_of_what_is_there(subjects: Sequence[Subject]) -> LabelTable | None:
    """Every label of any subject, by number; None where nobody has labels."""
    values: set[int] = set()
    for subject in subjects:
        if subject.labels is not None:
            values.update(int(value) for value in np.unique(subject.labels))
    entries = [(value, f"label {value}") for value in sorted(values - {0})]
    return make_label_table(entries) if entries else None
