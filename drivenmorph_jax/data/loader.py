"""Endless, seeded, resumable batches of random pairs, prepared on host threads by Grain.

Every sample is a pure function of the seed and its place in the global sequence. So batches do not
depend on the number of threads, a state is one integer, and the shards of several processes
together hold the batches that one process would have drawn.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Self

import grain
import numpy as np
from jaxtyping import Float, Int32
from numpy import ndarray

from drivenmorph_jax.data.labels import LabelTable
from drivenmorph_jax.data.skipping import ReadablePairs, subject_names
from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.errors import InputError

LabelMode = Literal["none", "raw", "consecutive"]

# Grain's own endless repetition is sys.maxsize long, a length that batching rounds out of range.
_ENDLESS = 2**48


class _Draw(NamedTuple):
    """What is random about a sample."""

    fixed: int
    moving: int
    flip: bool
    spare: int  # seed of the choice of another pair, where this one cannot be read


class PairLoader:
    """Iterator over batches of pairs.

    Each `next` gives a dict: `fixed` and `moving`, (B, D, H, W, 1) float32; unless labels are
    "none", `fixed_labels` and `moving_labels`, (B, D, H, W) int32; and, on request, `names`, a list
    of B pairs (fixed, moving), with "|flip" after the moving name where the pair was flipped. Every
    epoch has each subject (or each given pair) once as the fixed one, in a new order.

        with PairLoader(subjects, batch_size=2, seed=0) as loader:
            batch = next(loader)
            state = loader.get_state()  # JSON-able; set_state continues with the next batch
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        *,
        batch_size: int,
        seed: int,
        pairs: Sequence[tuple[int, int]] | None = None,
        flip: float = 0.5,
        labels: LabelMode = "none",
        label_table: LabelTable | None = None,
        with_names: bool = False,
        threads: int = 2,
        read_ahead: int = 4,
        skip: Callable[[str], None] | None = None,
        shard_index: int = 0,
        shard_count: int = 1,
    ):
        """A loader at the start of its sequence.

        Args:
          subjects: on one grid; indexing must be safe from several threads.
          batch_size: samples of a batch, over all shards; a multiple of `shard_count`.
          seed: of order, partners and flips; 0 to 2³² − 1.
          pairs: (fixed, moving) indices to draw from; None: any two different subjects.
          flip: probability of a left-right flip (axis 0) of both images and labels.
          labels: none, those of the data set, or numbered 1… by the label table.
          label_table: needed to number labels, and to swap sides in a flip.
          with_names: whether batches hold `names`, which no device takes.
          threads: 0 prepares every batch when it is asked for.
          read_ahead: batches held ready.
          skip: called with a line, once for each, about subjects that can no longer be read;
            another pair, by the sample's own seed, takes the place of theirs. None: such a subject
            raises InputError.
          shard_index: which part of every batch this process reads.
          shard_count: number of processes; a state may be continued by another number of them.

        Raises:
          InputError: too few subjects, or labels asked for that are not there.
        """
        _check(subjects, pairs, labels, label_table, flip)
        self._readable = ReadablePairs(subjects, pairs, skip)
        self._labels: LabelMode = labels
        self._table = label_table
        self._with_names = with_names
        self._signature = _signature(subjects, pairs, batch_size, seed, flip)
        count = len(subjects) if pairs is None else len(pairs)

        def draw(index: int, rng: np.random.Generator) -> _Draw:
            if pairs is not None:
                fixed, moving = pairs[index]
            else:
                fixed = index
                moving = int(rng.integers(count - 1))
                moving += moving >= fixed
            return _Draw(fixed, moving, bool(rng.random() < flip), int(rng.integers(2**32)))

        # Whole batches are drawn before each shard takes its part: a sample is the same, and has
        # the same place in the batch, whichever shard it falls to.
        subjects_in_turn = grain.MapDataset.range(count).seed(seed).shuffle()
        draws = subjects_in_turn.repeat(_ENDLESS // count).random_map(draw)
        share = batch_size // shard_count
        part = slice(shard_index * share, (shard_index + 1) * share)
        batches = draws.batch(batch_size, batch_fn=list).map(
            lambda whole: _stack([self._load(drawn) for drawn in whole[part]])
        )
        options = grain.ReadOptions(
            num_threads=min(threads, read_ahead),
            prefetch_buffer_size=read_ahead if threads else 0,
        )
        self._iterator = iter(batches.to_iter_dataset(options))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._iterator)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get_state(self) -> dict[str, Any]:
        """Where the sequence stands after the batches handed out; JSON-able."""
        return {"signature": self._signature, "iterator": self._iterator.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues exactly after the batch that the state was taken after.

        Raises:
          InputError: the state is of another sequence (other subjects, seed, batch size).
        """
        if state.get("signature") != self._signature:
            raise InputError(
                "cannot resume the data order: the checkpoint's subjects, seed, batch size or flip "
                "differ from this run's"
            )
        self._iterator.set_state(state["iterator"])

    def close(self) -> None:
        """Ends the host threads."""
        self._iterator.close()

    def skipped(self) -> list[str]:
        """Names of the subjects that this process could no longer read."""
        return self._readable.skipped()

    def _load(self, draw: _Draw) -> dict[str, Any]:
        fixed, moving = self._readable.read(draw.fixed, draw.moving, spare=draw.spare)
        sample: dict[str, Any] = {
            "fixed": _image(fixed, draw.flip),
            "moving": _image(moving, draw.flip),
        }
        if self._with_names:
            sample["names"] = (fixed.name, moving.name + ("|flip" if draw.flip else ""))
        if self._labels != "none":
            sample["fixed_labels"] = self._label_map(fixed, draw.flip)
            sample["moving_labels"] = self._label_map(moving, draw.flip)
        return sample

    def _label_map(self, subject: Subject, flip: bool) -> Int32[ndarray, "d h w"]:
        labels = subject.labels
        if labels is None:
            raise InputError(f"{subject.name} has no labels: train without, or add its label file")
        if flip and self._table is not None:
            labels = self._table.swap_sides(labels[::-1])
        if self._labels == "consecutive" and self._table is not None:
            labels = self._table.consecutive(labels)
        return np.ascontiguousarray(labels, np.int32)


def _image(subject: Subject, flip: bool) -> Float[ndarray, "d h w 1"]:
    image = subject.image[::-1] if flip else subject.image
    return np.ascontiguousarray(image, np.float32)[..., None]


def _stack(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keys = [key for key in samples[0] if key != "names"]
    batch: dict[str, Any] = {key: np.stack([sample[key] for sample in samples]) for key in keys}
    if "names" in samples[0]:
        batch["names"] = [sample["names"] for sample in samples]
    return batch


def _check(
    subjects: Sequence[Subject],
    pairs: Sequence[tuple[int, int]] | None,
    labels: LabelMode,
    table: LabelTable | None,
    flip: float,
) -> None:
    if pairs is None and len(subjects) < 2:
        raise InputError(f"{len(subjects)} training subjects: pairs need at least 2")
    if pairs is not None and not pairs:
        raise InputError("the list of training pairs is empty")
    if labels == "none":
        return
    if table is None and (labels == "consecutive" or flip > 0):
        raise InputError(
            "training with labels needs a label table: set data.labels to a .tsv of (label, name)"
        )


def _signature(subjects: Sequence[Subject], pairs: Any, *settings: Any) -> str:
    """Short hash of all that a place in the sequence depends on."""
    names = subject_names(subjects)
    listed = None if pairs is None else [list(map(int, pair)) for pair in pairs]
    text = json.dumps([list(names), listed, settings])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
