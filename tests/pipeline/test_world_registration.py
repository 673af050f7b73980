"""The pure function on arrays and affines: what the files' pipeline finds, and its derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.model import ModelConfig, init
from drivenmorph_jax.pipeline import network_method, register_volumes
from drivenmorph_jax.pipeline.pretrained import Pretrained
from drivenmorph_jax.pipeline.world_registration import WorkingGrid, register_in_world
from tests.pipeline.brains import brain, middle
from tests.pipeline.canned import between

# The search for the affine, differentiated and batched, takes a minute to compile each time.
pytestmark = pytest.mark.slow

CONFIG = ModelConfig(
    channels=(4, 4), iterations=(1, 2, 2), cross_attention=(2,), self_attention=(2,)
)
GRID = WorkingGrid((32, 32, 32), (2.5, 2.5, 2.5))


@pytest.fixture(scope="module")
def case():
    fixed, moving = brain("oblique"), brain("thick", other=True)
    arrays = [jnp.asarray(volume.data, jnp.float32) for volume in (fixed, moving)]
    affines = [jnp.asarray(volume.affine, jnp.float32) for volume in (fixed, moving)]
    params = init(jax.random.key(0), CONFIG)
    return fixed, moving, (params, *arrays, *affines)


@pytest.fixture(scope="module")
def solve():
    return jax.jit(lambda params, *arrays: register_in_world(params, *arrays, CONFIG, grid=GRID))


def test_it_is_the_registration_of_the_files(case, solve):
    fixed, moving, operands = case
    pretrained = Pretrained(operands[0], CONFIG, GRID.spacing, GRID.shape, "random", "")
    found = register_volumes(fixed, moving, network_method(pretrained))
    assert found.working.grid.shape == GRID.shape
    voxels = np.argwhere(fixed.data != 0)[::37]
    points = voxels @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    moved = np.asarray(solve(*operands)(jnp.asarray(points, jnp.float32)))
    expected = points + found.displacement[tuple(voxels.T)]
    deformation = moved - (points @ found.matrix[:3, :3].T + found.matrix[:3, 3])
    assert np.linalg.norm(deformation, axis=-1).max() > 0.5
    assert np.linalg.norm(moved - expected, axis=-1).max() < 0.05


def test_it_goes_on_finer_as_the_files_do():
    fixed, moving = brain("plain"), brain("plain", other=True)
    cfg = dataclasses.replace(CONFIG, correlation_iterations=(2,))
    grid = WorkingGrid((24, 24, 24), tuple(2 * np.asarray(fixed.spacing)))
    params = init(jax.random.key(0), cfg)
    method = network_method(Pretrained(params, cfg, grid.spacing, grid.shape, "random", ""))
    found = register_volumes(fixed, moving, method, initial_affine=np.eye(4))
    assert found.working.grid.shape == (48, 48, 48)
    operands = [jnp.asarray(v, jnp.float32) for v in (fixed.data, moving.data)]
    affines = [jnp.asarray(v.affine, jnp.float32) for v in (fixed, moving)]
    maps = [
        jax.jit(
            lambda *a, finer=finer: register_in_world(
                params, *a, cfg, grid=grid, matrix=jnp.eye(4), finer=finer
            )
        )(*operands, *affines)
        for finer in (False, True)
    ]
    voxels = np.argwhere(fixed.data != 0)[::37]
    points = voxels @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    coarse, fine = (np.asarray(m(jnp.asarray(points, jnp.float32))) for m in maps)
    expected = points + found.displacement[tuple(voxels.T)]
    assert np.linalg.norm(fine - expected, axis=-1).max() < 0.05
    assert np.linalg.norm(coarse - fine, axis=-1).max() > 0.2


def test_the_downstream_loss_has_a_gradient_in_both_images(case, solve):
    _, _, (params, fixed, moving, *affines) = case

    def loss(fixed, moving):
        mapping = solve(params, fixed, moving, *affines)
        warped = mapping.pull_back(moving[..., None], affines[1], fixed.shape, affines[0])
        return ((warped[..., 0] - jax.lax.stop_gradient(fixed)) ** 2).mean()

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)))(fixed, moving)
    for slope in slopes:
        assert jnp.isfinite(slope).all() and jnp.abs(slope).max() > 0


def test_vmap_is_the_loop(case):
    """With the affine given: its search under vmap is with the tests of the search."""
    fixed_volume, _, (params, fixed, moving, *affines) = case
    matrix = jnp.asarray(between("oblique", "thick"), jnp.float32)
    points = jnp.asarray(middle(fixed_volume) + np.array([[0, 0, 0], [9, -5, 7]]), jnp.float32)

    def moved(moving):
        mapping = register_in_world(
            params, fixed, moving, *affines, CONFIG, grid=GRID, matrix=matrix
        )
        return mapping(points), mapping.parts[0].displacement

    pairs = jnp.stack([moving, 0.5 * moving])
    together = jax.jit(jax.vmap(moved))(pairs)
    alone = [jax.jit(moved)(pair) for pair in pairs]
    for k in range(2):
        for one, other in zip(alone[k], together, strict=True):
            np.testing.assert_allclose(one, other[k], atol=5e-3)
    # The network does not care how bright an image is.
    np.testing.assert_allclose(together[1][0], together[1][1], atol=5e-3)
    assert jnp.abs(together[1]).max() > 0.5
