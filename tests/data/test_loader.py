"""The loader: its sequence depends on the seed alone, and continues exactly where it stopped."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from drivenmorph_jax.data import PairLoader, Subject
from drivenmorph_jax.data.protocols import freesurfer
from drivenmorph_jax.errors import InputError

COUNT = 7
OPTIONS: dict[str, Any] = {
    "batch_size": 2,
    "seed": 3,
    "labels": "raw",
    "label_table": freesurfer(),
    "with_names": True,
}


@pytest.fixture
def subjects():
    rng = np.random.default_rng(0)
    values = np.array([0, *freesurfer().values], np.uint8)
    return [
        Subject(f"s{i}", rng.random((4, 5, 6)).astype(np.float16), rng.choice(values, (4, 5, 6)))
        for i in range(COUNT)
    ]


def take(subjects, count, **options):
    with PairLoader(subjects, **{**OPTIONS, **options}) as loader:
        return list(itertools.islice(loader, count))


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys() and a["names"] == b["names"]
        for key in a.keys() - {"names"}:
            np.testing.assert_array_equal(a[key], b[key])


def test_batch(subjects):
    (batch,) = take(subjects, 1, labels="consecutive")
    assert batch["fixed"].shape == batch["moving"].shape == (2, 4, 5, 6, 1)
    assert batch["fixed"].dtype == batch["moving"].dtype == np.float32
    assert batch["fixed_labels"].shape == (2, 4, 5, 6)
    assert batch["fixed_labels"].dtype == np.int32 and batch["fixed_labels"].max() <= 31
    assert len(batch["names"]) == 2
    (batch,) = take(subjects, 1, labels="none", with_names=False)
    assert batch.keys() == {"fixed", "moving"}


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_do_not_matter(subjects, threads):
    expected = take(subjects, 12, threads=0)
    assert_same(take(subjects, 12, threads=threads, read_ahead=8), expected)


def test_seed_matters(subjects):
    assert take(subjects, 4)[0]["names"] != take(subjects, 4, seed=4)[0]["names"]


@pytest.mark.parametrize("threads", [0, 2])
def test_resume_in_mid_epoch(subjects, threads):
    expected = take(subjects, 12)
    with PairLoader(subjects, threads=threads, **OPTIONS) as loader:
        list(itertools.islice(loader, 5))
        state = json.loads(json.dumps(loader.get_state()))
        list(itertools.islice(loader, 3))
        loader.set_state(state)  # also back again, on the loader that went on
        assert_same(list(itertools.islice(loader, 7)), expected[5:])
    with PairLoader(subjects, threads=2 - threads, **OPTIONS) as loader:
        loader.set_state(state)
        assert_same(list(itertools.islice(loader, 7)), expected[5:])


def test_state_of_another_run_is_refused(subjects):
    with PairLoader(subjects, batch_size=2, seed=3) as loader:
        state = loader.get_state()
    for change in ({"seed": 4}, {"batch_size": 1}, {"flip": 0.1}):
        with (
            PairLoader(subjects, **{"batch_size": 2, "seed": 3, **change}) as loader,
            pytest.raises(InputError, match="differ"),
        ):
            loader.set_state(state)


def test_shards_hold_the_parts_of_one_process_s_batches(subjects):
    whole = take(subjects, 10, batch_size=4)
    shards = [take(subjects, 10, batch_size=4, shard_index=i, shard_count=2) for i in (0, 1)]
    for index, batch in enumerate(whole):
        parts = [shard[index] for shard in shards]
        assert parts[0]["names"] + parts[1]["names"] == batch["names"]
        np.testing.assert_array_equal(
            np.concatenate([part["fixed"] for part in parts]), batch["fixed"]
        )


def test_another_number_of_processes_continues(subjects):
    expected = take(subjects, 8, batch_size=4)
    with PairLoader(subjects, **{**OPTIONS, "batch_size": 4}) as loader:
        list(itertools.islice(loader, 3))
        state = loader.get_state()
    options = {**OPTIONS, "batch_size": 4, "shard_index": 1, "shard_count": 2}
    with PairLoader(subjects, **options) as loader:
        loader.set_state(state)
        for batch, whole in zip(itertools.islice(loader, 5), expected[3:], strict=True):
            assert batch["names"] == whole["names"][2:]


def test_every_epoch_has_every_subject_fixed_once(subjects):
    names = [batch["names"][0] for batch in take(subjects, 3 * COUNT, batch_size=1)]
    epochs = [names[i : i + COUNT] for i in range(0, len(names), COUNT)]
    for epoch in epochs:
        assert {fixed for fixed, _ in epoch} == {f"s{i}" for i in range(COUNT)}
    assert epochs[0] != epochs[1]
    assert all(fixed != moving.removesuffix("|flip") for fixed, moving in names)
    flips = np.mean([moving.endswith("|flip") for _, moving in names])
    assert 0.1 < flips < 0.9


def test_given_pairs(subjects):
    pairs = [(0, 1), (3, 2)]
    names = [b["names"][0] for b in take(subjects, 6, batch_size=1, pairs=pairs, flip=0)]
    assert set(names) == {("s0", "s1"), ("s3", "s2")}


def test_flip_mirrors_and_swaps_labels(subjects):
    by_name = {subject.name: subject for subject in subjects}
    for batch in take(subjects, 5, flip=1):
        for index, (fixed, _) in enumerate(batch["names"]):
            subject = by_name[fixed]
            np.testing.assert_array_equal(
                batch["fixed"][index, ..., 0], subject.image[::-1].astype(np.float32)
            )
            expected = freesurfer().swap_sides(subject.labels)[::-1]
            np.testing.assert_array_equal(batch["fixed_labels"][index], expected)
            assert (batch["fixed_labels"][index] != subject.labels[::-1]).any()


def test_errors(subjects):
    with pytest.raises(InputError, match="at least 2"):
        PairLoader(subjects[:1], batch_size=1, seed=0)
    with pytest.raises(InputError, match="empty"):
        PairLoader(subjects, batch_size=1, seed=0, pairs=[])
    with pytest.raises(InputError, match=r"data\.labels"):
        PairLoader(subjects, batch_size=1, seed=0, labels="raw")
    bare = [subject._replace(labels=None) for subject in subjects]
    with pytest.raises(InputError, match="has no labels"):
        take(bare, 1, threads=0)
