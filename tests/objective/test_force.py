"""Deep supervision of the force: which images meet which field, with which weight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective.force import default_level_weights, force_supervision
from drivenmorph_jax.objective.regularity import diffusion
from drivenmorph_jax.objective.similarity import mse
from drivenmorph_jax.spatial.resize import downsample
from drivenmorph_jax.spatial.sampling import warp


class Level(NamedTuple):
    force_displacement: jax.Array


class Levels(NamedTuple):
    levels: tuple[Level, ...]


def _images(shape=(9, 8, 12)):
    values = np.random.default_rng(0).normal(size=(2, *shape, 1))
    return jnp.asarray(values, jnp.float32)


def _registration(*shapes):
    random = np.random.default_rng(1)
    fields = [jnp.asarray(random.normal(size=(*shape, 3)), jnp.float32) for shape in shapes]
    return Levels(tuple(Level(field) for field in fields))


def test_is_its_definition_on_odd_grids_and_skipped_levels():
    fixed, moving = _images()
    registration = _registration((3, 2, 3), (5, 4, 6))
    coarse, fine = (level.force_displacement for level in registration.levels)
    half = [downsample(image) for image in (fixed, moving)]
    quarter = [downsample(image) for image in half]
    expected = 0.3 * (mse(quarter[0], warp(quarter[1], coarse)) + 0.1 * diffusion(coarse))
    expected += 0.7 * (mse(half[0], warp(half[1], fine)) + 0.1 * diffusion(fine))
    loss = force_supervision(
        fixed,
        moving,
        registration,
        similarity=mse,
        regularity_weight=0.1,
        level_weights=(0.3, 0.7),
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_level_at_full_resolution_sees_the_images_themselves():
    fixed, moving = _images()
    registration = _registration(fixed.shape[:-1])
    (level,) = registration.levels
    loss = force_supervision(fixed, moving, registration, similarity=mse, regularity_weight=0.0)
    np.testing.assert_allclose(loss, mse(fixed, warp(moving, level.force_displacement)), rtol=1e-6)


def test_every_level_gets_a_gradient():
    fixed, moving = _images()
    registration = _registration((3, 2, 3), (5, 4, 6))
    gradient = jax.jit(
        jax.grad(
            lambda r: force_supervision(fixed, moving, r, similarity=mse, regularity_weight=0.0)
        )
    )(registration)
    assert all(jnp.abs(level.force_displacement).max() > 0 for level in gradient.levels)


def test_default_weights_double_towards_the_finest_and_sum_to_one():
    np.testing.assert_allclose(default_level_weights(3), [1 / 7, 2 / 7, 4 / 7])


def test_what_does_not_fit_is_refused():
    fixed, moving = _images()
    for registration, weights, message in (
        (Levels(()), None, "no level"),
        (_registration((5, 4, 6)), (0.5, 0.5), "weights"),
        (_registration((4, 4, 6)), None, "does not reach"),
    ):
        with pytest.raises(ValueError, match=message):
            force_supervision(
                fixed,
                moving,
                registration,
                similarity=mse,
                regularity_weight=1.0,
                level_weights=weights,
            )
