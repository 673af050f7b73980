"""The training loss: every key of its configuration is used, and nothing else is computed."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.objective import loss as module
from drivenmorph_jax.objective.consistency import inverse_consistency
from drivenmorph_jax.objective.loss import LossConfig, registration_loss
from drivenmorph_jax.objective.overlap import one_hot, soft_dice
from drivenmorph_jax.objective.regularity import bending_energy, diffusion, jacobian_hinge
from drivenmorph_jax.objective.similarity import lncc, mse
from drivenmorph_jax.spatial.masks import brain_mask
from drivenmorph_jax.spatial.resize import downsample
from drivenmorph_jax.spatial.sampling import warp

SHAPE = (8, 10, 9)
NOTHING = LossConfig(regularity_weight=0.0, force_weight=0.0)
ALL = LossConfig(
    regularity_weight=0.5,
    force_weight=0.25,
    dice_weight=2.0,
    jacobian_weight=3.0,
    inverse_consistency_weight=0.125,
)


@functools.partial(jax.jit, static_argnames=("cfg", "label_values"))
def jitted(registration, fixed, moving, cfg, **extra):
    return registration_loss(registration, fixed, moving, cfg, **extra)


def total_loss(*args, **kwargs):
    return jitted(*args, **kwargs)[0]


class Level(NamedTuple):
    force_displacement: jax.Array


class Registration(NamedTuple):
    displacement: jax.Array
    levels: tuple[Level, ...]


def _case():
    random = np.random.default_rng(0)
    images = random.uniform(0.1, 1, size=(2, *SHAPE, 1))
    images[:, :2] = 0
    labels = jnp.asarray(random.integers(0, 3, size=(2, *SHAPE)), jnp.int32)
    field = jnp.asarray(random.normal(size=(*SHAPE, 3)), jnp.float32)
    coarse = jnp.asarray(random.normal(size=(4, 5, 5, 3)), jnp.float32)
    registration = Registration(field, (Level(coarse),))
    fixed, moving = jnp.asarray(images, jnp.float32)
    extra = {
        "fixed_labels": labels[0],
        "moving_labels": labels[1],
        "label_values": (1, 2),
        "backward": -0.5 * field,
    }
    return registration, fixed, moving, extra


def test_the_loss_is_the_weighted_sum_of_its_terms():
    registration, fixed, moving, extra = _case()
    loss, terms = jitted(registration, fixed, moving, ALL, **extra)
    weights = {
        "similarity": 1,
        "regularity": 0.5,
        "force": 0.25,
        "dice": 2,
        "jacobian": 3,
        "inverse_consistency": 0.125,
    }
    assert terms.keys() == weights.keys()
    expected = sum(weights[name] * float(term) for name, term in terms.items())
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert all(float(term) > 0 for term in terms.values())


def test_the_terms_are_what_they_are_called():
    registration, fixed, moving, extra = _case()
    _, terms = jitted(registration, fixed, moving, ALL, **extra)
    field = registration.displacement
    warped = warp(moving, field)
    expected = lncc(fixed, warped, mask=brain_mask(fixed, warped))
    np.testing.assert_allclose(terms["similarity"], expected, rtol=1e-5)
    np.testing.assert_allclose(terms["regularity"], diffusion(field), rtol=1e-5)
    np.testing.assert_allclose(terms["jacobian"], jacobian_hinge(field), rtol=1e-5)
    shares = [one_hot(extra[f"{name}_labels"], (1, 2)) for name in ("fixed", "moving")]
    overlap = soft_dice(shares[0], warp(shares[1], field))
    np.testing.assert_allclose(terms["dice"], overlap, rtol=1e-5)
    np.testing.assert_allclose(
        terms["inverse_consistency"], inverse_consistency(field, extra["backward"]), rtol=1e-5
    )


def test_a_term_of_weight_zero_is_not_computed(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("computed in vain")

    for name in ("diffusion", "force_supervision", "soft_dice", "jacobian_hinge"):
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr(module, "inverse_consistency", never)
    registration, fixed, moving, _ = _case()
    loss, terms = registration_loss(registration, fixed, moving, NOTHING)
    assert terms.keys() == {"similarity"}
    assert loss == terms["similarity"]


CHANGES = (
    {"similarity": "mse"},
    {"similarity": "mi"},
    {"similarity": "mind"},
    {"similarity_weight": 0.5},
    {"lncc_window": 3},
    {"regularity": "bending"},
    {"regularity_weight": 0.7},
    {"force_weight": 0.7},
    {"dice_weight": 0.7},
    {"dice_level": 1},
    {"jacobian_weight": 0.7},
    {"inverse_consistency_weight": 0.7},
)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_key_changes_the_loss(change):
    registration, fixed, moving, extra = _case()
    base = dataclasses.replace(
        NOTHING,
        regularity_weight=1.0 if "regularity" in change else 0.0,
        dice_weight=1.0 if "dice_level" in change else 0.0,
    )
    before = total_loss(registration, fixed, moving, base, **extra)
    changed = dataclasses.replace(base, **change)
    after = total_loss(registration, fixed, moving, changed, **extra)
    assert abs(after - before) > 1e-4 * abs(before)


def test_every_key_is_tried_above():
    tried = {key for change in CHANGES for key in change}
    assert tried == {field.name for field in dataclasses.fields(LossConfig)}


def test_regularity_and_similarity_reach_the_force_term():
    registration, fixed, moving, _ = _case()
    cfg = LossConfig(similarity="mse", regularity="bending", regularity_weight=2.0)
    (level,) = registration.levels
    with_it = jitted(registration, fixed, moving, cfg)[1]["force"]
    no_smooth = dataclasses.replace(cfg, regularity_weight=0.0)
    without = jitted(registration, fixed, moving, no_smooth)[1]["force"]
    np.testing.assert_allclose(
        with_it - without, 2 * bending_energy(level.force_displacement), rtol=1e-4
    )


def test_images_that_cannot_be_compared_leave_the_work_to_the_labels():
    registration, fixed, moving, extra = _case()
    cfg = LossConfig(similarity_weight=0.0, dice_weight=1.0, regularity_weight=0.0)
    loss, terms = jitted(registration, fixed, moving, cfg, **extra)
    assert terms.keys() == {"dice", "force"}
    swapped = jitted(registration, moving, 0 * fixed, cfg, **extra)
    np.testing.assert_array_equal(loss, swapped[0])
    shares = [
        downsample(one_hot(extra[f"{name}_labels"], extra["label_values"]))
        for name in ("fixed", "moving")
    ]
    (level,) = registration.levels
    expected = soft_dice(shares[0], warp(shares[1], level.force_displacement))
    np.testing.assert_allclose(terms["force"], expected, rtol=1e-5)


def test_dice_at_half_resolution_is_that_of_shares_of_a_voxel():
    registration, fixed, moving, extra = _case()
    cfg = dataclasses.replace(NOTHING, similarity_weight=0.0, dice_weight=1.0, dice_level=1)
    constant = jnp.broadcast_to(jnp.array([2.0, 0.0, -1.0]), registration.displacement.shape)
    _, terms = jitted(Registration(constant, ()), fixed, moving, cfg, **extra)
    shares = [
        downsample(one_hot(extra[f"{name}_labels"], extra["label_values"]))
        for name in ("fixed", "moving")
    ]
    half = jnp.broadcast_to(jnp.array([1.0, 0.0, -0.5]), (*shares[0].shape[:-1], 3))
    expected = soft_dice(shares[0], warp(shares[1], half))
    np.testing.assert_allclose(terms["dice"], expected, rtol=1e-5)
    assert not np.isclose(expected, soft_dice(*shares), rtol=1e-3)


def test_a_level_below_0_is_refused():
    with pytest.raises(InputError, match=r"loss\.dice_level"):
        LossConfig(dice_level=-1)


def test_something_has_to_be_brought_together():
    with pytest.raises(InputError, match=r"loss\.similarity_weight and dice_weight are both 0"):
        LossConfig(similarity_weight=0.0)


def test_the_similarity_does_not_depend_on_the_background():
    registration, fixed, moving, _ = _case()
    cfg = dataclasses.replace(NOTHING, similarity="mse")
    still = Registration(jnp.zeros_like(registration.displacement), ())
    loss = total_loss(still, fixed, moving, cfg)
    np.testing.assert_allclose(loss, mse(fixed[2:], moving[2:]), rtol=1e-5)


def test_gradients_are_finite_for_equal_images_and_a_field_at_rest():
    registration, fixed, _, extra = _case()
    at_rest = jax.tree.map(jnp.zeros_like, registration)

    def loss(r):
        return registration_loss(r, fixed, fixed, ALL, **extra)[0]

    gradient = jax.jit(jax.grad(loss))(at_rest)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_batches_by_vmap():
    registration, fixed, moving, _ = _case()
    batch = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), (registration, fixed, moving))

    def one(r, f, m):
        return registration_loss(r, f, m, LossConfig(similarity="mse"))[0]

    mapped = jax.jit(jax.vmap(one))(*batch)
    for index in range(2):
        single = jax.jit(one)(*jax.tree.map(lambda a, i=index: a[i], batch))
        np.testing.assert_allclose(mapped[index], single, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dice_weight": 1.0}, "labels"),
        ({"inverse_consistency_weight": 1.0}, "backward"),
        ({"similarity": "ssd"}, "unknown similarity"),
        ({"regularity": "tv"}, "unknown regularity"),
    ],
    ids=str,
)
def test_a_term_without_what_it_needs_is_refused(change, message):
    cfg = dataclasses.replace(NOTHING, **change)
    registration, fixed, moving, _ = _case()
    with pytest.raises(ValueError, match=message):
        jitted(registration, fixed, moving, cfg)
