"""Images that are missing or damaged: named, and by config left out or the end of the run."""

import dataclasses
import itertools

import numpy as np
import pytest

from drivenmorph_jax.data import DataConfig, PairLoader, Subject, load_training
from drivenmorph_jax.data.prealign import cache_folder
from drivenmorph_jax.data.sources import list_subjects
from drivenmorph_jax.errors import InputError

BAD = (1, 3)


class Faulty(list):
    """Subjects of which some cannot be read."""

    def __init__(self, count=6, bad=BAD):
        super().__init__(
            Subject(f"s{i}", np.full((4, 5, 6), i + 1, np.float32)) for i in range(count)
        )
        self.names = tuple(subject.name for subject in self)
        self.bad = bad

    def __getitem__(self, index):
        if index in self.bad:
            raise InputError(f"cache/s{index}.npz cannot be read")
        return super().__getitem__(index)


def take(subjects, count, *, state=None, said=None, **options):
    options = {"batch_size": 2, "seed": 3, "with_names": True, "threads": 0} | options
    with PairLoader(subjects, skip=None if said is None else said.append, **options) as loader:
        if state is not None:
            loader.set_state(state)
        batches = list(itertools.islice(loader, count))
        return [batch["names"] for batch in batches], loader.get_state(), loader.skipped()


@pytest.mark.parametrize("threads", [0, 2])
def test_by_default_the_run_ends_and_names_the_file(threads):
    with pytest.raises(InputError, match=r"cache/s[13].npz cannot be read"):
        take(Faulty(), 6, threads=threads)


@pytest.mark.parametrize("pairs", [None, [(0, 1), (2, 4), (3, 5), (4, 5)]])
def test_skipped_subjects_are_told_once_and_in_no_pair(pairs):
    said = []
    names, _, skipped = take(Faulty(), 30, pairs=pairs, said=said)
    flat = [name.removesuffix("|flip") for batch in names for pair in batch for name in pair]
    assert not {"s1", "s3"} & set(flat)
    assert set(flat) == ({"s0", "s2", "s4", "s5"} if pairs is None else {"s2", "s4", "s5"})
    assert all(fixed != moving.removesuffix("|flip") for b in names for fixed, moving in b)
    assert skipped == ["s1", "s3"]
    assert sorted(said) == [f"skipped s{i}: cache/s{i}.npz cannot be read" for i in BAD]


def test_what_can_be_read_keeps_its_place():
    whole, _, _ = take(Faulty(bad=()), 20)
    faulty, _, _ = take(Faulty(), 20, said=[])
    pairs = list(
        zip(
            itertools.chain.from_iterable(whole), itertools.chain.from_iterable(faulty), strict=True
        )
    )
    touched = [bool({"s1", "s3"} & {a[0], a[1].removesuffix("|flip")}) for a, _ in pairs]
    assert any(touched) and not all(touched)
    assert [a == b for (a, b) in pairs] == [not t for t in touched]


@pytest.mark.parametrize("threads", [1, 8])
def test_the_order_hangs_on_neither_threads_nor_a_resume_nor_shards(threads):
    expected, _, _ = take(Faulty(), 12, said=[])
    found, _, _ = take(Faulty(), 12, said=[], threads=threads, read_ahead=8)
    assert found == expected
    _, state, _ = take(Faulty(), 5, said=[], threads=threads)
    rest, _, _ = take(Faulty(), 7, said=[], threads=threads, state=state)
    assert rest == expected[5:]
    parts = [take(Faulty(), 12, said=[], shard_index=i, shard_count=2)[0] for i in (0, 1)]
    assert [one + other for one, other in zip(*parts, strict=True)] == expected


def test_when_no_pair_is_left_the_run_ends():
    with pytest.raises(InputError, match=r"no pair of training subjects is left .*s0, s1, s2"):
        take(Faulty(3, bad=(0, 1, 2)), 1, said=[])
    with pytest.raises(InputError, match=r"no pair of training subjects is left .*s1"):
        take(Faulty(2, bad=(1,)), 1, said=[])


def damage(path):
    path.write_bytes(path.read_bytes()[:200])


@pytest.fixture
def folder(layout) -> DataConfig:
    return dataclasses.replace(layout("folder"), prealign=False)


@pytest.mark.parametrize("fault", [damage, lambda path: path.symlink_to("gone")])
def test_a_bad_file_stops_the_preparation_or_is_left_out(folder, fault):
    first, _, bad, _ = (file.image_path for file in list_subjects(folder).training)
    if fault is not damage:
        bad.unlink()
    fault(bad)
    with pytest.raises(InputError, match=bad.name):
        load_training(folder)
    said = []
    skipping = dataclasses.replace(folder, on_bad_image="skip")
    for _ in range(2):  # worked out, then from the cache
        said.clear()
        training, _ = load_training(skipping, progress=said.append)
        assert [subject.name for subject in training.subjects] == ["case0", "case1", "case3"]
        assert training.skipped == ("case2",)
        (line,) = [line for line in said if line.startswith("skipped case2: ")]
        assert bad.name in line
    # The first subject defines the grid; where it is bad, the next one does.
    damage(first)
    training, _ = load_training(skipping)
    assert training.skipped == ("case0", "case2")


def test_too_few_subjects_left_end_the_run(folder):
    for file in list_subjects(folder).training[1:]:
        damage(file.image_path)
    skipping = dataclasses.replace(folder, on_bad_image="skip")
    with pytest.raises(InputError, match=r"3 of 4 training subjects cannot be used \(case1"):
        load_training(skipping)


def test_given_pairs_lose_those_of_a_bad_subject(layout):
    cfg = dataclasses.replace(layout("pairs_csv"), prealign=False, on_bad_image="skip")
    damage(list_subjects(cfg).training[2].image_path)
    training, _ = load_training(cfg)
    names = [subject.name for subject in training.subjects]
    assert len(names) == 3 and len(training.skipped) == 1
    assert training.pairs is not None and len(training.pairs) == 2


def test_a_cache_file_that_goes_bad_on_the_way(folder):
    cfg = dataclasses.replace(folder, in_memory=False, on_bad_image="skip")
    training, _ = load_training(cfg)
    (bad,) = cache_folder(cfg).glob("case2-*.npz")
    damage(bad)
    said = []
    names, _, skipped = take(training.subjects, 8, said=said)
    assert skipped == ["case2"] and len(names) == 8
    assert said == [f"skipped case2: {bad} cannot be read: delete it, and start again"]
