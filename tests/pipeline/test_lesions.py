"""Lesions: what they look like has no influence, and the map goes on around them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.images import Grid, Volume, warp_volume
from drivenmorph_jax.model import (
    ClassicalConfig,
    Ignored,
    ModelConfig,
    classical_demons,
    init,
    register,
)
from drivenmorph_jax.objective.loss import LossConfig
from drivenmorph_jax.pipeline import demons_method, refined_method, register_volumes
from drivenmorph_jax.pipeline.lesions import fill, ignored_on
from drivenmorph_jax.pipeline.refinement import RefineConfig
from drivenmorph_jax.pipeline.scans import Scans
from drivenmorph_jax.pipeline.summary import dice_statistics, similarity_statistics
from tests.pipeline import quick
from tests.pipeline.brains import brain, brain_labels, middle
from tests.pipeline.canned import canned

DEMONS = ClassicalConfig(iterations=(4, 8, 8))
NETWORK = ModelConfig(
    channels=(4,),
    iterations=(1, 2),
    cross_attention=(1,),
    self_attention=(),
    residual_channels=(0, 0),
)


def ball(volume: Volume, centre, radius: float) -> Volume:
    """1 within `radius` mm of a point of the volume's world, else 0."""
    index = np.stack(np.indices(volume.shape), axis=-1)
    world = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    inside = np.linalg.norm(world - centre, axis=-1) < radius
    assert inside.any()
    return Volume(inside.astype(np.uint8), volume.affine)


def painted(volume: Volume, lesion: Volume, seed: int) -> Volume:
    """Whatever a lesion may look like: bright noise with holes."""
    noise = np.random.default_rng(seed).uniform(-1, 5, volume.shape).clip(0)
    return Volume(np.where(lesion.data != 0, noise, volume.data).astype(np.float32), volume.affine)


@pytest.fixture(scope="module")
def pair():
    made = phantom_pair(3, (24, 28, 24))
    return made.fixed[..., None], made.moving[..., None]


def shares(pair, fixed_value: float, moving_value: float) -> Ignored:
    fixed, moving = np.zeros((2, *pair[0].shape), np.float32)
    fixed[6:16, 8:18, 6:16] = fixed_value
    moving[10:18, 8:18, 6:16] = moving_value
    return Ignored(jnp.asarray(fixed), jnp.asarray(moving))


def network(fixed, moving, ignored):
    return register(init(jax.random.key(0), NETWORK), fixed, moving, NETWORK, ignored=ignored)


def demons(fixed, moving, ignored):
    return classical_demons(fixed, moving, DEMONS, ignored=ignored)


@pytest.mark.parametrize("solve", [pytest.param(network, marks=pytest.mark.slow), demons])
def test_nothing_ignored_changes_nothing(solve, pair):
    solve = jax.jit(solve)
    plain, none = solve(*pair, None), solve(*pair, shares(pair, 0, 0))
    np.testing.assert_allclose(plain.displacement, none.displacement, atol=1e-5)
    assert np.abs(plain.displacement).max() > 0.05


@pytest.mark.parametrize("solve", [pytest.param(network, marks=pytest.mark.slow), demons])
def test_there_is_no_force_where_the_fixed_image_is_ignored(solve, pair):
    ignored = shares(pair, 1, 0)
    plain, masked = (jax.jit(solve)(*pair, given) for given in (None, ignored))
    inside = np.asarray(ignored.fixed[..., 0]) == 1
    forces = [np.abs(found.levels[-1].driving_force)[:, inside] for found in (plain, masked)]
    assert forces[0].max() > 0
    np.testing.assert_array_equal(forces[1], 0)


def test_everything_ignored_leaves_the_identity(pair):
    everything = Ignored(jnp.ones(pair[0].shape), jnp.zeros(pair[0].shape))
    np.testing.assert_array_equal(jax.jit(demons)(*pair, everything).displacement, 0)


REFINED = RefineConfig(iterations=2, loss=LossConfig(lncc_window=5))


@pytest.mark.parametrize(
    "method", [demons_method(DEMONS), refined_method(demons_method(DEMONS), REFINED)]
)
def test_what_a_lesion_looks_like_has_no_influence(method, monkeypatch):
    quick.quicken(monkeypatch)
    fixed, moving = brain("plain"), brain("oblique", other=True)
    lesions = ball(fixed, middle(fixed) + np.array([6, 0, 0]), 7), ball(moving, middle(moving), 6)
    found = [
        register_volumes(
            painted(fixed, lesions[0], seed),
            painted(moving, lesions[1], seed + 10),
            method,
            fixed_lesion=lesions[0],
            moving_lesion=lesions[1],
        )
        for seed in (1, 2)
    ]
    np.testing.assert_array_equal(found[0].displacement, found[1].displacement)
    np.testing.assert_array_equal(found[0].matrix, found[1].matrix)
    # The moved image itself still shows the lesion.
    assert np.abs(found[0].warped.data - found[1].warped.data).max() > 0.5


def test_the_map_is_nearer_to_that_without_the_lesion():
    fixed, moving = brain("plain"), brain("plain", other=True)
    lesion = ball(fixed, middle(fixed) + np.array([0, 8, 0]), 8)
    ill = painted(fixed, lesion, 0)
    method = demons_method(DEMONS)
    settings = {"initial_affine": np.eye(4)}
    healthy = register_volumes(fixed, moving, method, **settings).displacement
    plain = register_volumes(ill, moving, method, **settings).displacement
    masked = register_volumes(ill, moving, method, fixed_lesion=lesion, **settings).displacement
    inside = fixed.data != 0
    errors = [np.linalg.norm(u - healthy, axis=-1)[inside].mean() for u in (plain, masked)]
    assert errors[1] < 0.7 * errors[0]


def test_filling_keeps_what_is_outside_and_invents_nothing():
    image = brain("oblique")
    lesion = ball(image, middle(image), 9)
    filled = fill(image, lesion)
    outside = lesion.data == 0
    np.testing.assert_array_equal(filled.data[outside], image.data[outside])
    assert np.isin(filled.data[~outside], image.data[outside]).all()
    assert fill(image, None) is image


def test_the_nearest_voxel_is_so_in_mm():
    data = np.zeros((12, 12, 5), np.float32)
    data[..., 2] = 1 + np.arange(12)[:, None]
    lesion = np.zeros_like(data)
    lesion[4:9, 4:9, 2] = 1
    thick = np.diag([1.0, 1.0, 5.0, 1.0])
    filled = fill(Volume(data, thick), Volume(lesion, thick))
    assert (filled.data[..., 2] > 0).all(), "filled from the next slice, 5 mm away"


def test_a_moving_lesion_follows_the_affine():
    image = brain("oblique")
    lesion = ball(image, middle(image), 9)
    grid = Grid(image.shape, image.affine)
    assert ignored_on(grid, np.eye(4), None, None) is None
    shift = np.eye(4)
    shift[:3, 3] = image.affine[:3, 0]
    found = ignored_on(grid, shift, lesion, lesion)
    np.testing.assert_array_equal(found.fixed[..., 0], lesion.data)
    # One voxel along the first axis: the fixed x lies at the moving x + shift.
    np.testing.assert_allclose(found.moving[:-1, ..., 0], lesion.data[1:], atol=1e-4)


@pytest.mark.slow
def test_a_moving_lesion_keeps_its_size_while_the_map_is_refined():
    """As large as the same map makes the same place of a healthy brain: it draws no edge."""
    fixed, moving = brain("plain"), brain("plain", other=True)
    lesion = ball(moving, middle(moving) + np.array([0, 8, 0]), 9)
    refined = RefineConfig(iterations=40, loss=LossConfig(lncc_window=5))
    method = refined_method(demons_method(DEMONS), refined)
    soft = Volume(lesion.data.astype(np.float32), lesion.affine)
    sizes = []
    for image, given in ((moving, None), (painted(moving, lesion, 0), lesion)):
        found = register_volumes(
            fixed, image, method, moving_lesion=given, initial_affine=np.eye(4)
        )
        sizes.append(warp_volume(soft, found.displacement, fixed.affine).data.sum())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.08)


@pytest.fixture(scope="module")
def made():
    return canned("oblique", "thick")


def test_the_figures_know_nothing_of_what_is_in_a_lesion(made):
    lesions = {
        "fixed_lesion": ball(made.fixed, middle(made.fixed) + np.array([6, 0, 0]), 8),
        "moving_lesion": ball(made.moving, middle(made.moving) + np.array([-6, 9, 0]), 8),
    }
    found = {}
    for seed in (1, 2):
        fixed, moving = (
            painted(image, lesion, seed)
            for image, lesion in zip((made.fixed, made.moving), lesions.values(), strict=True)
        )
        warped = warp_volume(moving, made.registered.displacement, fixed.affine)
        registered = made.registered._replace(warped=warped)
        for given in ({}, lesions):
            figures = similarity_statistics(Scans(fixed, moving, **given), registered)
            found[seed, bool(given)] = [figures[k] for k in ("before", "affine", "after")]
            assert ("lesions left out" in figures["of"]) == bool(given)
    assert np.abs(np.subtract(found[1, False], found[2, False])).min() > 1e-4
    np.testing.assert_allclose(found[1, True], found[2, True], atol=1e-5)
    assert found[1, True][2] > found[1, False][2] + 0.02


def test_dice_counts_no_lesion_and_no_label_within_one(made):
    labels = brain_labels("oblique"), brain_labels("thick", other=True)
    place = np.argwhere(labels[0].data == 3).mean(0)
    world = labels[0].affine[:3, :3] @ place + labels[0].affine[:3, 3]
    lesion = ball(made.fixed, world, 12)

    def figures(fixed_labels, **lesions):
        scans = Scans(made.fixed, made.moving, fixed_labels, labels[1], **lesions)
        moved = warp_volume(labels[1], made.registered.displacement, made.fixed.affine, order=0)
        return dice_statistics(scans, made.registered, moved)

    wrong = Volume(np.where(lesion.data != 0, 5, labels[0].data), labels[0].affine)
    assert figures(wrong)["labels"]["5"]["after"] < figures(labels[0])["labels"]["5"]["after"]
    masked = [figures(map_, fixed_lesion=lesion) for map_ in (wrong, labels[0])]
    assert masked[0] == masked[1]
    # Label 3 lies in it whole: there is nothing to say of it, and it is no failure.
    assert "3" in figures(labels[0])["labels"] and "3" not in masked[0]["labels"]
    both = figures(
        labels[0], fixed_lesion=lesion, moving_lesion=ball(made.moving, middle(made.moving), 9)
    )
    assert json.dumps(both, allow_nan=False)
