"""From a config to subjects and pairs, for every format; real data where they are present."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest

from drivenmorph_jax.data import DataConfig, PairLoader, load_training, load_validation
from drivenmorph_jax.errors import InputError

LAYOUTS = ["folder", "pairs_csv", "learn2reg", "ixi", "transmorph_ixi", "lpba40", "mindboggle"]


def check(data, shape):
    names = [subject.name for subject in data.subjects]
    assert len(set(names)) == len(names)
    for subject in data.subjects:
        assert subject.image.shape == shape and (subject.image == 0).any()
        assert subject.labels is None or subject.labels.shape == shape
    for fixed, moving in data.pairs or ():
        assert fixed != moving and max(fixed, moving) < len(names)
    return set(names)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_loads(layout, name):
    cfg = dataclasses.replace(layout(name), prealign=False)
    training, holdout = load_training(cfg)
    validation = load_validation(cfg)
    assert check(training, cfg.shape).isdisjoint(check(validation, cfg.shape))
    assert holdout.pairs == () and len(validation.pairs) > 0
    assert validation.affine.shape == (4, 4)
    labels = "none" if name == "ixi" else "consecutive"
    with PairLoader(
        training.subjects,
        batch_size=1,
        seed=0,
        pairs=training.pairs,
        labels=labels,
        label_table=training.label_table,
    ) as loader:
        batch = next(loader)
    assert batch["fixed"].shape == (1, *cfg.shape, 1)
    if labels != "none":
        assert batch["fixed_labels"].max() > 0


def test_holdout_subjects(layout):
    cfg = dataclasses.replace(layout("folder"), prealign=False, holdout=2)
    training, holdout = load_training(cfg)
    assert len(training.subjects) == 2 and len(holdout.subjects) == 2
    assert check(training, cfg.shape).isdisjoint(check(holdout, cfg.shape))
    assert holdout.pairs == ((0, 1), (1, 0))
    on_disk, _ = load_training(dataclasses.replace(cfg, in_memory=False))
    assert [s.name for s in on_disk.subjects] == [s.name for s in training.subjects]
    with pytest.raises(InputError, match=r"data\.holdout"):
        load_training(dataclasses.replace(cfg, holdout=3))


def test_holdout_pairs(layout):
    cfg = dataclasses.replace(layout("pairs_csv"), prealign=False, holdout=1)
    training, holdout = load_training(cfg)
    assert training.pairs is not None and len(training.pairs) == 3 and len(holdout.pairs) == 1
    names = [s.name for s in training.subjects]
    trained = {(names[f], names[m]) for f, m in training.pairs}
    held = [(holdout.subjects[f].name, holdout.subjects[m].name) for f, m in holdout.pairs]
    assert not trained & set(held)
    with pytest.raises(InputError, match=r"data\.validation"):
        load_validation(dataclasses.replace(cfg, validation_path=None))


def test_labels_of_unknown_protocol_are_all_scored(layout):
    cfg = dataclasses.replace(layout("folder"), prealign=False, labels=None)
    training, _ = load_training(cfg)
    assert training.label_table is None
    table = load_validation(cfg).label_table
    assert table is not None and 2 in table.values and 0 not in table.values


def test_phantoms():
    cfg = DataConfig(shape=(16, 18, 16), phantom_training=5, phantom_validation=2, holdout=2)
    training, holdout = load_training(cfg)
    validation = load_validation(cfg)
    assert training.pairs == ((0, 1), (2, 3), (4, 5)) and len(holdout.pairs) == 2
    images = [s.image for d in (training, holdout, validation) for s in d.subjects]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(images, 2))
    assert validation.truth is not None and validation.truth[0].shape == (16, 18, 16, 3)
    again = load_validation(cfg)
    np.testing.assert_array_equal(again.subjects[3].image, validation.subjects[3].image)
    other = load_validation(dataclasses.replace(cfg, seed=1))
    assert not np.array_equal(other.subjects[0].image, validation.subjects[0].image)


@pytest.mark.parametrize(
    "change",
    [{"holdout": -1}, {"flip": 1.5}, {"shape": (4, 48, 48)}, {"spacing": (1.0, 0.0, 1.0)}],
)
def test_config_is_checked(change):
    with pytest.raises(InputError, match=rf"data\.{next(iter(change))}"):
        DataConfig(**change)


@pytest.mark.realdata
@pytest.mark.slow
def test_real_brains_align(real_data, tmp_path):
    for part, count in (("train", 2), ("val", 2)):
        (tmp_path / part).mkdir()
        for image in sorted((real_data / "ixi_2mm" / part).glob("*_t1.nii.gz"))[:count]:
            for path in (image, image.with_name(image.name.replace("_t1", "_seg"))):
                shutil.copy(path, tmp_path / part)
    cfg = DataConfig(
        format="folder",
        path=str(tmp_path),
        shape=(80, 96, 80),
        cache=str(tmp_path / "cache"),
        labels=str(real_data / "labels.tsv"),
        holdout=0,
    )
    training, _ = load_training(cfg)
    validation = load_validation(cfg)
    subjects = [*training.subjects, *validation.subjects]
    assert validation.label_table is not None
    scores = []
    for one, other in itertools.combinations(subjects, 2):
        for value in validation.label_table.values:
            a, b = one.labels == value, other.labels == value
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    # Affine alignment alone gives about 0.61 on such pairs.
    assert np.mean(scores) > 0.55
