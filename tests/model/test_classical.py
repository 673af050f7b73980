"""Classical Demons on phantoms of known truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.data import phantom_pair
from drivenmorph_jax.model import ClassicalConfig, classical_demons
from drivenmorph_jax.spatial.jacobian import jacobian_determinant
from drivenmorph_jax.spatial.sampling import warp

demons = jax.jit(classical_demons, static_argnames="cfg")
ITERATIONS = (10, 20, 30)


@pytest.fixture(scope="module")
def phantoms():
    return phantom_pair(0, (36, 40, 36), noise=0.0, bias=0.0)


@pytest.mark.parametrize("variant", ["thirion", "symmetric", "diffeomorphic"])
def test_variants_find_the_truth(variant, phantoms):
    fixed, moving = (jnp.asarray(x)[..., None] for x in (phantoms.fixed, phantoms.moving))
    result = demons(fixed, moving, ClassicalConfig(variant=variant, iterations=ITERATIONS))
    u, truth = np.asarray(result.displacement), phantoms.true_displacement
    brain = phantoms.fixed > 0
    before = np.linalg.norm(truth, axis=-1)[brain].mean()
    after = np.linalg.norm(u - truth, axis=-1)[brain].mean()
    assert after < 0.55 * before
    difference = ((np.asarray(warp(moving, result.displacement)) - fixed) ** 2).mean()
    assert difference < 0.3 * ((moving - fixed) ** 2).mean()
    assert (np.asarray(jacobian_determinant(u)) <= 0).mean() < 1e-3
    assert [level.velocity.shape[0] for level in result.levels] == list(ITERATIONS[::-1])
    assert result.levels[0].displacement.shape == (9, 10, 9, 3)


def test_variants_are_not_one_another(phantoms):
    fixed, moving = (jnp.asarray(x)[..., None] for x in (phantoms.fixed, phantoms.moving))
    fields = [
        demons(fixed, moving, ClassicalConfig(variant=variant, iterations=ITERATIONS)).displacement
        for variant in ("thirion", "symmetric", "diffeomorphic")
    ]
    assert np.abs(fields[0] - fields[1]).max() > 0.05
    assert np.abs(fields[1] - fields[2]).max() > 0.01


def test_an_image_is_carried_into_itself_by_nothing(phantoms):
    fixed = jnp.asarray(phantoms.fixed)[..., None]
    cfg = ClassicalConfig(iterations=ITERATIONS)
    np.testing.assert_array_equal(demons(fixed, fixed, cfg).displacement, 0)
    empty = jnp.zeros_like(fixed)
    np.testing.assert_array_equal(demons(empty, empty, cfg).displacement, 0)


def test_levels_without_iterations_are_passed(brain):
    fixed, moving = brain(1), brain(2)
    result = demons(fixed, moving, ClassicalConfig(iterations=(0, 0, 3)))
    assert len(result.levels) == 1
    assert result.displacement.shape == (10, 9, 12, 3)
    none = demons(fixed, moving, ClassicalConfig(iterations=(0,)))
    np.testing.assert_array_equal(none.displacement, 0)


def test_precision_follows_the_images():
    with jax.enable_x64(True):
        for dtype in (jnp.int16, jnp.float32, jnp.float64):
            image = jax.ShapeDtypeStruct((8, 8, 8, 1), dtype)
            shapes = jax.eval_shape(
                lambda f, m: classical_demons(f, m, ClassicalConfig(iterations=(1, 2))),
                image,
                image,
            )
            expected = jnp.promote_types(dtype, jnp.float32)
            assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {expected}
            assert not any(leaf.weak_type for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("sees", "change"),
    [
        ("detail", lambda image, x: image * (0.6 + 0.9 * x)),  # shading along the first axis
        ("mind", lambda image, x: np.where(image > 0, 1.5 - image, 0)),  # the negative
    ],
)
def test_what_is_seen_decides_what_may_differ(sees, change, phantoms):
    x = np.linspace(0, 1, phantoms.moving.shape[0], dtype=np.float32)[:, None, None]
    fixed, moving = phantoms.fixed, change(phantoms.moving, x)
    brain, truth = fixed > 0, phantoms.true_displacement
    left = {}
    for name in (sees, "intensity"):
        cfg = ClassicalConfig("symmetric", sees=name, iterations=ITERATIONS, alpha=0.25)
        u = demons(*(jnp.asarray(image)[..., None] for image in (fixed, moving)), cfg).displacement
        left[name] = np.linalg.norm(np.asarray(u) - truth, axis=-1)[brain].mean()
    before = np.linalg.norm(truth, axis=-1)[brain].mean()
    assert left[sees] < 0.7 * before and left[sees] < 0.7 * left["intensity"]
