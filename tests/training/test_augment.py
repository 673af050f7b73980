import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.training.augment import AffineRange, AugmentConfig, augment_pair, random_affine

STILL = AffineRange()


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((9, 10, 11, 1), np.float32))
    labels = jnp.asarray(rng.integers(0, 40, (9, 10, 11)), jnp.int32)
    return {
        "fixed": image,
        "moving": image,
        "fixed_labels": labels,
        "moving_labels": labels,
    }


def test_ranges_of_zero_change_nothing(example):
    moved = augment_pair(jax.random.key(1), example, AugmentConfig(joint=STILL, residual=STILL))
    for name, before in example.items():
        np.testing.assert_allclose(moved[name], before, atol=1e-5)
        assert moved[name].dtype == before.dtype


def test_switched_off_it_gives_back_what_it_got(example):
    assert augment_pair(jax.random.key(1), example, AugmentConfig(enabled=False)) is example


def test_the_joint_part_moves_both_alike_and_the_residual_only_the_moving_one(example):
    joint = AugmentConfig(residual=STILL)
    moved = augment_pair(jax.random.key(1), example, joint)
    np.testing.assert_array_equal(moved["fixed"], moved["moving"])
    np.testing.assert_array_equal(moved["fixed_labels"], moved["moving_labels"])
    assert not np.allclose(moved["fixed"], example["fixed"], atol=0.1)
    both = augment_pair(jax.random.key(1), example, AugmentConfig())
    np.testing.assert_array_equal(moved["fixed"], both["fixed"])
    assert not np.allclose(both["moving"], both["fixed"], atol=0.1)


def test_labels_stay_labels_and_follow_their_image(example):
    example["fixed"] = example["fixed_labels"][..., None].astype(jnp.float32)
    moved = augment_pair(jax.random.key(2), example, AugmentConfig())
    assert set(np.unique(moved["fixed_labels"])) <= {0, *np.unique(example["fixed_labels"])}
    shift = AugmentConfig(joint=AffineRange(translation=1e-3), residual=STILL)
    slight = augment_pair(jax.random.key(2), example, shift)
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(
        slight["fixed"][(*inner, 0)], slight["fixed_labels"][inner], atol=0.2
    )


def test_the_key_decides(example):
    first, again, other = (
        augment_pair(jax.random.key(seed), example, AugmentConfig())["moving"] for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_centre_stays_where_nothing_translates():
    limits = AffineRange(rotation=30.0, scale=0.2, shear=0.1)
    matrix = random_affine(jax.random.key(0), (9, 11, 13), limits)
    np.testing.assert_allclose(matrix @ jnp.array([4.0, 5.0, 6.0, 1.0]), [4, 5, 6, 1], atol=1e-5)
    assert not np.allclose(matrix, np.eye(4), atol=1e-2)


def test_draws_stay_in_their_range():
    limits = AffineRange(translation=2.0)
    keys = jax.random.split(jax.random.key(0), 200)
    shifts = jax.vmap(lambda key: random_affine(key, (8, 8, 8), limits))(keys)[:, :3, 3]
    assert 1.8 < float(jnp.abs(shifts).max()) <= 2.0 + 1e-5
