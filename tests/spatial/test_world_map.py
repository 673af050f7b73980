"""World maps against the NumPy transforms, and through every transformation of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import ndimage

from drivenmorph_jax.images.differentiable import from_world_map, to_world_map
from drivenmorph_jax.spatial.world_map import Field, Linear, WorldMap, from_voxels
from tests.images.pairs import MATRIX, pair, points_inside


def chain(shape=(9, 10, 8), *, seed: int = 0, size: float = 1.5) -> WorldMap:
    """A smooth field on an oblique grid, then an affine."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(*shape, 3)), (2, 2, 2, 0))
    affine = np.diag([2.0, 1.5, 2.5, 1.0])
    affine[:3, :3] = MATRIX[:3, :3] @ affine[:3, :3]
    affine[:3, 3] = [3, -4, 1]
    field = Field(
        jnp.asarray(size * noise / np.abs(noise).max(), jnp.float32),
        jnp.asarray(affine, jnp.float32),
    )
    return WorldMap((field, Linear(jnp.asarray(MATRIX, jnp.float32))))


@pytest.mark.parametrize("names", [("oblique", "permuted"), ("LAS", "thick")])
def test_points_and_images_are_those_of_the_file_transforms(names):
    made = pair(*names)
    transform = made.transform
    mapping = to_world_map(transform)
    points = points_inside(made.fixed_grid)
    np.testing.assert_allclose(
        jax.jit(lambda *given: mapping(*given))(jnp.asarray(points, jnp.float32)),
        transform(points),
        atol=1e-3,
    )
    pull = jax.jit(
        lambda mapping, image: mapping.pull_back(
            image[..., None],
            jnp.asarray(made.moving.affine, jnp.float32),
            made.fixed.shape,
            jnp.asarray(made.fixed.affine, jnp.float32),
        )[..., 0]
    )
    made.check_image(np.asarray(pull(mapping, jnp.asarray(made.moving.data, jnp.float32))))


def test_there_and_back_through_files(tmp_path):
    mapping = chain()
    again = to_world_map(from_world_map(mapping))
    jax.tree.map(np.testing.assert_array_equal, mapping, again)
    assert [type(part) for part in again.parts] == [Field, Linear]


def test_then_is_composition_and_the_inverse_undoes():
    one, other = chain(seed=1), chain(seed=2)
    rng = np.random.default_rng(0)
    voxels = jnp.asarray(rng.uniform(2, 5, (200, 3)), jnp.float32)
    field = one.parts[0]
    points = voxels @ field.affine[:3, :3].T + field.affine[:3, 3][None]
    both = one.then(other)
    np.testing.assert_allclose(both(points), other(one(points)), atol=1e-5)
    back = jax.jit(lambda mapping, points: mapping.inverse()(mapping(points)))(one, points)
    # The inverse is exact at the field's voxels, linear between.
    assert np.abs(back - points).max() < 0.15
    assert WorldMap()(points) is points


def test_the_inverse_is_exact_at_the_fields_voxels():
    mapping = WorldMap(chain(seed=3).parts[:1])
    field = mapping.parts[0]
    index = np.stack(np.indices((5, 6, 4)), axis=-1).reshape(-1, 3) + 2
    voxels = jnp.asarray(index, jnp.float32) @ field.affine[:3, :3].T + field.affine[:3, 3][None]
    np.testing.assert_allclose(mapping(mapping.inverse()(voxels)), voxels, atol=2e-3)


def test_a_displacement_in_voxels_becomes_millimetres():
    affine = jnp.asarray([[0, -2, 0, 5], [3, 0, 0, 1], [0, 0, 1.5, 2], [0, 0, 0, 1]], jnp.float32)
    field = from_voxels(jnp.zeros((3, 3, 3, 3)).at[..., 0].set(1.0), affine)
    moved = WorldMap((field,))(jnp.asarray([[5.0, 1, 2]]))
    np.testing.assert_allclose(moved, [[5, 4, 2]])


def test_derivatives_in_points_fields_and_matrices():
    with jax.enable_x64(True):
        mapping = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), chain(seed=4))
        field = mapping.parts[0]
        points = jnp.asarray([[3.3, 4.1, 2.6], [4.4, 3.2, 5.7]])
        points = points @ field.affine[:3, :3].T + field.affine[:3, 3][None]

        def moved(displacement, matrix, points):
            given = WorldMap((field._replace(displacement=displacement), Linear(matrix)))
            return given(points)

        operands = (field.displacement, mapping.parts[1].matrix, points)
        check_grads(moved, operands, order=1, modes=("fwd", "rev"), eps=1e-5)

        def returned(displacement):
            given = WorldMap((field._replace(displacement=displacement),))
            return given.inverse()(points)

        check_grads(returned, (field.displacement,), order=1, modes=("rev",), eps=1e-5, rtol=1e-3)


def test_vmap_over_maps():
    maps = [chain(seed=seed) for seed in (5, 6)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *maps)
    points = jnp.asarray([[6.0, 5, 8], [9, 2, 7]])
    together = jax.vmap(lambda mapping: mapping(points))(stacked)
    for mapping, moved in zip(maps, together, strict=True):
        np.testing.assert_allclose(mapping(points), moved, atol=1e-5)
