"""Images synthesised from label maps: what is random, what is not, and what never changes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import label_table, phantom_subject
from drivenmorph_jax.data.labels import make_label_table
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
def subject():
    return phantom_subject(3, (20, 22, 18))


@pytest.fixture(scope="module")
def labels(subject):
    """A phantom's labels, with the fluid around its cortex as FreeSurfer numbers it."""
    return jnp.asarray(np.where((subject.labels == 0) & (subject.image > 0), FLUID, subject.labels))


@pytest.fixture(scope="module")
def made_by(subject):
    """A configuration to a function (key, labels) to what is synthesised of the phantom."""
    original = jnp.asarray(subject.image)[..., None]

    @functools.cache
    def with_config(cfg):
        made = functools.partial(synthesise, original=original, cfg=cfg, classes=CLASSES)
        return jax.jit(lambda key, labels: made(key, labels))

    return with_config


def test_both_sides_have_one_intensity():
    assert CLASSES[53] == CLASSES[17] == 17 and CLASSES[16] == 16
    np.testing.assert_array_equal(intensity_classes(None), np.arange(256))
    csf = make_label_table([(3, "Cortex"), (FLUID, "CSF")])
    np.testing.assert_array_equal(intensity_classes(csf), np.arange(256))


@pytest.mark.parametrize(
    ("value", "name"), [(1002, "Left-Caudal-Anterior-Cingulate"), (FLUID, "Right-Cortex")]
)
def test_labels_that_are_not_numbered_as_freesurfers_are_refused(value, name):
    table = make_label_table([(3, "Cortex"), (value, name)])
    with pytest.raises(InputError, match=rf"training\.synthesis: label {value} is '{name}'"):
        intensity_classes(table)


def test_the_background_is_0_and_the_brain_above_it(labels, made_by):
    for seed in range(3):
        image, deformed, _ = made_by(SynthesisConfig())(jax.random.key(seed), labels)
        assert image.shape == (*labels.shape, 1) and deformed.shape == labels.shape
        brain = np.asarray(image[..., 0] != 0)
        assert np.isfinite(image).all() and image[brain].min() > 0 and image.max() <= 1
        assert not brain[np.asarray(deformed) == 0].any()
        tissue = np.asarray((deformed != 0) & (deformed != FLUID))
        assert brain[tissue].mean() > 0.7


def test_the_key_decides_everything(labels, made_by):
    run = made_by(SynthesisConfig())
    first, again, other = (run(jax.random.key(seed), labels) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert np.corrcoef(np.ravel(first[0]), np.ravel(other[0]))[0, 1] < 0.95
    assert (first[1] != other[1]).any()


def test_without_faults_each_structure_is_of_one_random_intensity(labels, made_by):
    means = []
    for seed in range(8):
        image, same, _ = made_by(PLAIN)(jax.random.key(seed), labels)
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
def test_each_fault_alone_changes_the_image(labels, made_by):
    plain = [made_by(PLAIN)(jax.random.key(seed), labels)[0] for seed in range(4)]
    for name in ("bias", "gamma", "blur", "thickness", "noise", "strip", "deformation"):
        cfg = dataclasses.replace(PLAIN, **{name: getattr(SynthesisConfig(), name)})
        changes = []
        for seed in range(4):
            image, deformed, _ = made_by(cfg)(jax.random.key(seed), labels)
            assert (deformed == labels).all() == (name != "deformation")
            changes.append(float(jnp.abs(image - plain[seed]).max()))
        # Not each time: half of the images have thick slices, some keep all the fluid.
        assert max(changes) > 0.01, name


@pytest.mark.slow
def test_thick_slices_are_those_of_one_axis(labels, made_by):
    cfg = dataclasses.replace(PLAIN, thickness=8.0)
    spans = []
    for seed in range(6):
        image = made_by(cfg)(jax.random.key(seed), labels).image
        plain = made_by(PLAIN)(jax.random.key(seed), labels).image
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
    originals = {f"{name}_original": image for name, image in images.items()}
    assert {k: (v.shape, v.dtype) for k, v in pair.items()} == {
        k: (v.shape, v.dtype) for k, v in {**example, **images, **originals}.items()
    }
    assert (pair["fixed_labels"] != pair["moving_labels"]).any()
    inside = np.asarray((pair["fixed"] != 0) & (pair["moving"] != 0))
    assert abs(np.corrcoef(pair["fixed"][inside], pair["moving"][inside])[0, 1]) < 0.95


def test_brain_without_a_label_is_fluid(subject, labels, made_by):
    made = made_by(PLAIN)(jax.random.key(0), jnp.asarray(subject.labels))
    np.testing.assert_array_equal(made.labels, labels)
    assert (np.asarray(made.labels) == FLUID).any() and not (subject.labels == FLUID).any()


def test_with_texture_intensity_is_a_curve_of_the_original(subject, labels, made_by):
    """And rises with it in some images, and falls in others, as no structure's mean could tell."""
    cfg = dataclasses.replace(PLAIN, texture=1.0, shift=0.0)
    flat = np.ravel(subject.image)
    order = np.argsort(flat)[np.count_nonzero(flat == 0) :]
    ups = []
    for seed in range(6):
        made = made_by(cfg)(jax.random.key(seed), labels)
        np.testing.assert_array_equal(made.original[..., 0], subject.image)
        steps = np.diff(np.ravel(made.image)[order])
        # A curve: where the original hardly changes, neither does the image.
        assert np.abs(steps)[np.diff(flat[order]) < 1e-4].max() < 1e-2
        ups.append((steps > 0).mean())
    assert min(ups) < 0.5 < max(ups)
    shifted = dataclasses.replace(cfg, shift=0.2)
    images = [made_by(c)(jax.random.key(0), labels).image for c in (cfg, shifted)]
    assert np.abs(images[0] - images[1]).max() > 0.01


def test_the_original_is_deformed_as_the_labels_are(subject, labels, made_by):
    made = made_by(dataclasses.replace(PLAIN, deformation=3.0))(jax.random.key(1), labels)
    moved = np.asarray(made.labels)
    assert (moved != labels).any()
    np.testing.assert_array_equal(np.asarray(made.original[..., 0])[moved == 0], 0)
    fits = [
        np.mean([subject.image[np.asarray(labels) == v].mean() for v in (2, 3)]),
        np.mean([np.asarray(made.original[..., 0])[moved == v].mean() for v in (2, 3)]),
    ]
    assert fits[1] == pytest.approx(fits[0], abs=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"texture": 1.5},
        {"mean": (0.9, 0.1)},
        {"bias": -1.0},
        {"strip": 0.5},
        {"deformation_nodes": 1},
    ],
)
def test_ranges_that_make_no_sense(change):
    with pytest.raises(InputError, match=r"training\.synthesis"):
        SynthesisConfig(**change)
