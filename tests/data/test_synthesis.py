"""Images synthesised from label maps: what is random, what is not, and what never changes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import label_table, phantom_subject
from drivenmorph_jax.data.synthesis import (
    FLUID,
    SynthesisConfig,
    intensity_classes,
    synthesise,
    synthesise_pair,
)
from drivenmorph_jax.errors import InputError

CLASSES = intensity_classes(label_table("freesurfer"))
PLAIN = SynthesisConfig(
    deviation=(0.0, 0.0), bias=0, gamma=0, blur=0, thickness=1, noise=0, strip=0, deformation=0
)


@pytest.fixture(scope="module")
def labels():
    """A phantom's labels, with the fluid around its cortex as FreeSurfer numbers it."""
    subject = phantom_subject(3, (20, 22, 18))
    assert subject.labels is not None
    return jnp.asarray(np.where((subject.labels == 0) & (subject.image > 0), FLUID, subject.labels))


@functools.cache
def made_by(cfg):
    return jax.jit(functools.partial(synthesise, cfg=cfg, classes=CLASSES))


def test_both_sides_have_one_intensity_and_labels_too_large_to_synthesise_are_left_out():
    assert CLASSES[53] == CLASSES[17] == 17 and CLASSES[16] == 16
    np.testing.assert_array_equal(intensity_classes(None), np.arange(256))
    np.testing.assert_array_equal(intensity_classes(label_table("dkt31")), np.arange(256))


def test_the_background_is_0_and_the_brain_above_it(labels):
    for seed in range(3):
        image, deformed = made_by(SynthesisConfig())(jax.random.key(seed), labels)
        assert image.shape == (*labels.shape, 1) and deformed.shape == labels.shape
        brain = np.asarray(image[..., 0] != 0)
        assert np.isfinite(image).all() and image[brain].min() > 0 and image.max() <= 1
        assert not brain[np.asarray(deformed) == 0].any()
        tissue = np.asarray((deformed != 0) & (deformed != FLUID))
        assert brain[tissue].mean() > 0.7


def test_the_key_decides_everything(labels):
    run = made_by(SynthesisConfig())
    first, again, other = (run(jax.random.key(seed), labels) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert np.corrcoef(np.ravel(first[0]), np.ravel(other[0]))[0, 1] < 0.95
    assert (first[1] != other[1]).any()


def test_without_faults_each_structure_is_of_one_random_intensity(labels):
    means = []
    for seed in range(8):
        image, same = made_by(PLAIN)(jax.random.key(seed), labels)
        np.testing.assert_array_equal(same, labels)
        flat = np.asarray(image[..., 0])
        np.testing.assert_array_equal(flat != 0, labels != 0)
        values = {int(v): flat[np.asarray(labels) == v] for v in np.unique(labels) if v}
        assert all(np.ptp(v) < 1e-5 for v in values.values())
        assert values[2][0] == values[41][0] and values[3][0] == values[42][0]  # both sides
        means.append([values[v][0] for v in (2, 3, 10, FLUID)])
    table = np.array(means)
    assert (table.std(0) > 0.1).all()
    assert len({np.argsort(row).tobytes() for row in table}) > 4  # every order of contrasts


@pytest.mark.slow
def test_each_fault_alone_changes_the_image(labels):
    plain = [made_by(PLAIN)(jax.random.key(seed), labels)[0] for seed in range(4)]
    for name in ("bias", "gamma", "blur", "thickness", "noise", "strip", "deformation"):
        cfg = dataclasses.replace(PLAIN, **{name: getattr(SynthesisConfig(), name)})
        changes = []
        for seed in range(4):
            image, deformed = made_by(cfg)(jax.random.key(seed), labels)
            assert (deformed == labels).all() == (name != "deformation")
            changes.append(float(jnp.abs(image - plain[seed]).max()))
        # Not each time: half of the images have thick slices, some keep all the fluid.
        assert max(changes) > 0.01, name


@pytest.mark.slow
def test_thick_slices_are_those_of_one_axis(labels):
    cfg = dataclasses.replace(PLAIN, thickness=8.0)
    spans = []
    for seed in range(6):
        image, _ = made_by(cfg)(jax.random.key(seed), labels)
        plain, _ = made_by(PLAIN)(jax.random.key(seed), labels)
        inside = np.asarray(labels) != 0
        spans.append(np.abs(image - plain)[inside].mean())
    assert min(spans) < 1e-6 < 0.01 < max(spans)


@pytest.mark.slow
def test_a_pair_has_two_contrasts_and_keeps_its_shapes(labels):
    example = dict.fromkeys(("fixed_labels", "moving_labels"), labels)
    images = {name: labels[..., None].astype(jnp.float32) for name in ("fixed", "moving")}
    pair = jax.jit(lambda key, both: synthesise_pair(key, both, SynthesisConfig(), CLASSES))(
        jax.random.key(2), {**example, **images}
    )
    assert {k: (v.shape, v.dtype) for k, v in pair.items()} == {
        k: (v.shape, v.dtype) for k, v in {**example, **images}.items()
    }
    assert (pair["fixed_labels"] != pair["moving_labels"]).any()
    inside = np.asarray((pair["fixed"] != 0) & (pair["moving"] != 0))
    assert abs(np.corrcoef(pair["fixed"][inside], pair["moving"][inside])[0, 1]) < 0.95


@pytest.mark.parametrize(
    "change",
    [{"mean": (0.9, 0.1)}, {"bias": -1.0}, {"strip": 0.5}, {"deformation_nodes": 1}],
)
def test_ranges_that_make_no_sense(change):
    with pytest.raises(InputError, match=r"training\.synthesis"):
        SynthesisConfig(**change)
