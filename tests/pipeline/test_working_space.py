"""The working grid, and images on it."""

import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, canonical
from drivenmorph_jax.pipeline.brain_check import check_brain_extracted
from drivenmorph_jax.pipeline.working_space import choose_grid, to_working_space
from tests.pipeline.brains import GRIDS, brain

TWO = (2.0, 2.0, 2.0)


def box(size, *, spacing=1.0) -> Volume:
    """A brain of `size` voxels with 3 empty voxels around it."""
    data = np.pad(np.random.default_rng(0).uniform(0.5, 1, size), 3).astype(np.float32)
    return Volume(data, np.diag([spacing, spacing, spacing, 1.0]))


@pytest.mark.parametrize(
    ("size", "least", "shape"),
    [
        ((30, 30, 30), (32, 48, 32), (32, 48, 32)),
        ((31, 30, 30), (32, 48, 32), (48, 48, 32)),
        ((30, 70, 30), (32, 48, 32), (32, 80, 32)),
        ((30, 31, 14), None, (32, 48, 16)),
    ],
)
def test_grid_grows_in_steps_where_the_brain_does_not_fit(size, least, shape):
    volume = box(size, spacing=2.0)
    grid = choose_grid(volume, spacing=TWO, least_shape=least)
    assert grid.shape == shape
    working = to_working_space(volume, volume, np.eye(4), grid)
    # Voxels coincide, so all of the brain is there as it was, but for the scale.
    assert (working.fixed != 0).sum() == np.prod(size)
    np.testing.assert_array_equal(working.fixed, working.moving)
    inside = volume.data[volume.data != 0]
    scale = np.percentile(inside, 99.9)
    expected = np.sort(inside / scale)
    np.testing.assert_allclose(np.sort(working.fixed[working.fixed != 0]), expected, rtol=1e-6)


def test_no_spacing_means_the_fixed_images_own():
    grid = choose_grid(box((20, 20, 20), spacing=1.5), spacing=None, least_shape=(32, 32, 32))
    np.testing.assert_allclose(np.diag(grid.affine), [1.5, 1.5, 1.5, 1])


@pytest.mark.parametrize("spacing", [0.1, 30.0])
def test_a_brain_of_absurd_size_is_refused(spacing):
    with pytest.raises(InputError, match=r"spans .* voxel size"):
        choose_grid(box((22, 22, 22), spacing=spacing), spacing=TWO, least_shape=None)


@pytest.mark.parametrize("name", GRIDS)
def test_the_same_brain_from_every_grid(name):
    shapes = GRIDS[name][1].get("centre", (0, 0, 0))
    shift = np.eye(4)
    shift[:3, 3] = shapes
    fixed, volume = brain("plain"), canonical(brain(name))
    grid = choose_grid(fixed, spacing=(3.0, 3.0, 3.0), least_shape=None)
    working = to_working_space(fixed, volume, shift, grid)
    brains = working.fixed != 0, working.moving != 0
    overlap = 2 * (brains[0] & brains[1]).sum() / (brains[0].sum() + brains[1].sum())
    assert overlap > 0.9
    assert np.corrcoef(working.fixed.ravel(), working.moving.ravel())[0, 1] > 0.93


def test_a_fine_image_is_smoothed_before_it_is_read_coarsely():
    rng = np.random.default_rng(0)
    noise = np.zeros((70, 70, 70), np.float32)
    noise[10:60, 10:60, 10:60] = 1 + rng.uniform(-0.5, 0.5, (50, 50, 50))
    volume = Volume(noise, np.diag([0.8, 0.8, 0.8, 1]))
    grid = choose_grid(volume, spacing=TWO, least_shape=None)
    working = to_working_space(volume, volume, np.eye(4), grid)
    core = working.fixed[(slice(10, 20),) * 3]
    assert core.std() / core.mean() < 0.5 * noise[20:50, 20:50, 20:50].std()
    # No faint rim: the background is exactly 0 a voxel outside the brain.
    litres = (working.fixed != 0).sum() * 8
    assert litres < 1.5 * 40**3


def test_images_that_do_not_meet_are_refused():
    volume = box((20, 20, 20), spacing=2.0)
    away = np.eye(4)
    away[:3, 3] = 500
    grid = choose_grid(volume, spacing=TWO, least_shape=None)
    with pytest.raises(InputError, match="moving image: nothing of it meets"):
        to_working_space(volume, volume, away, grid)


NOISE = r"100 ?% of its voxels are not 0.*extract the brain first"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data + 7, "background is 7, not 0"),
        (
            lambda data: np.where(data == 0, np.random.default_rng(0).random(data.shape), data),
            NOISE,
        ),
        (lambda data: -data, "no voxel is above 0"),
        (
            lambda data: np.where(data == 0, 0, data - np.median(data[data != 0]) + 1e-3),
            r"% of its brain is below 0.*add a constant",
        ),
    ],
)
def test_what_is_no_brain_on_an_empty_background(change, message):
    volume = brain("plain")
    check_brain_extracted(volume, "image")
    with pytest.raises(InputError, match=message):
        check_brain_extracted(Volume(change(volume.data), volume.affine), "image")


def test_a_faint_rim_below_0_is_no_fault():
    volume = brain("plain")
    rim = np.where(volume.data == 0, 0.0, 1.0) - np.roll(volume.data != 0, 1, 0)
    ringing = volume.data - 0.05 * volume.data.max() * (rim < 0)
    assert (ringing < 0).any()
    check_brain_extracted(Volume(ringing, volume.affine), "image")


def test_more_than_a_brain():
    head = np.zeros((180, 200, 180), np.float32)
    head[20:160, 20:180, 20:160] = 1
    with pytest.raises(InputError, match=r"3\.1 litres .* extract the brain"):
        check_brain_extracted(Volume(head, np.eye(4)), "image")
