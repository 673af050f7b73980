"""Alignment recovers what was imposed, and is a function like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.alignment import AlignmentConfig, align
from tests.alignment.brains import brain, error, transform

# Small lattices: the tests compile and run in seconds.
CONFIG = AlignmentConfig(
    points=(12, 20),
    resolution=(16, 28),
    iterations=(10, 8),
    candidates=(6, 1),
)
SHAPE = (30, 36, 28)
AFFINE = np.array([[4.0, 0, 0, -60], [0, 4, 0, -72], [0, 0, 4, -56], [0, 0, 0, 1]])
# Another orientation, spacing and shape.
MOVING_SHAPE = (36, 40, 44)
MOVING_AFFINE = np.array([[0, -4.5, 0, 90], [-3.5, 0, 0, 70], [0, 0, 3.8, -80], [0, 0, 0, 1.0]])
POINTS = np.argwhere(brain(SHAPE, AFFINE) > 0)[::17] @ AFFINE[:3, :3].T + AFFINE[:3, 3]

CASES = {
    "identity": ("affine", transform()),
    "shift": ("translation", transform(shift=(20, -10, 5))),
    "turn": ("rigid", transform(degrees=30, axis=(1, -1, 0.5), shift=(5, 0, -8))),
    "half a right angle": ("rigid", transform(degrees=45, axis=(0, 0.2, 1), shift=(0, 10, 0))),
    "affine": (
        "affine",
        transform(degrees=20, axis=(1, 0, 0.3), shift=(6, -4, 9), scale=(1.15, 0.85, 1.05)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_imposed_transforms_are_recovered(case):
    kind, truth = CASES[case]
    moving = brain(MOVING_SHAPE, MOVING_AFFINE, truth)
    result = align(brain(SHAPE, AFFINE), moving, AFFINE, MOVING_AFFINE, kind=kind, config=CONFIG)
    distance, angle = error(result.matrix, truth, POINTS)
    assert distance < 1
    assert angle < 1
    assert result.score > 0.95
    assert result.overlap > 0.95


def test_another_contrast_by_mutual_information():
    truth = transform(degrees=25, axis=(0, 1, 1), shift=(10, 5, -5))
    moving = brain(MOVING_SHAPE, MOVING_AFFINE, truth, contrast="t2")
    result = align(
        brain(SHAPE, AFFINE),
        moving,
        AFFINE,
        MOVING_AFFINE,
        kind="rigid",
        similarity="mi",
        config=CONFIG,
    )
    distance, angle = error(result.matrix, truth, POINTS)
    assert distance < 1
    assert angle < 1


def test_kinds_keep_their_promise():
    truth = transform(degrees=15, shift=(5, 5, 5), scale=(1.2, 0.9, 1))
    moving = brain(MOVING_SHAPE, MOVING_AFFINE, truth)
    images = (brain(SHAPE, AFFINE), moving, AFFINE, MOVING_AFFINE)
    rigid = np.asarray(align(*images, kind="rigid", config=CONFIG).matrix)[:3, :3]
    np.testing.assert_allclose(rigid @ rigid.T, np.eye(3), atol=1e-4)
    shift = np.asarray(align(*images, kind="translation", config=CONFIG).matrix)
    np.testing.assert_allclose(shift[:3, :3], np.eye(3), atol=1e-6)


def test_the_scale_of_intensities_and_padding_do_not_matter():
    truth = transform(degrees=10, shift=(5, 5, 5))
    fixed, moving = brain(SHAPE, AFFINE), brain(MOVING_SHAPE, MOVING_AFFINE, truth)
    plain = align(fixed, moving, AFFINE, MOVING_AFFINE, config=CONFIG).matrix
    padded_affine = AFFINE.copy()
    padded_affine[:3, 3] -= 4.0 * np.array([3, 0, 0])
    padded = np.pad(fixed, ((3, 4), (0, 5), (0, 0)))
    other = align(padded * 900, moving * 0.01, padded_affine, MOVING_AFFINE, config=CONFIG).matrix
    assert error(other, np.asarray(plain), POINTS)[0] < 0.1


@pytest.mark.slow
def test_vmap_is_the_loop():
    fixed = jnp.asarray(brain(SHAPE, AFFINE))
    truths = [transform(degrees=angle, shift=(5, 5, -5)) for angle in (10, 25)]
    stack = jnp.stack([jnp.asarray(brain(MOVING_SHAPE, MOVING_AFFINE, truth)) for truth in truths])

    def search(moving):
        return align(fixed, moving, AFFINE, MOVING_AFFINE, config=CONFIG).matrix

    together = np.asarray(jax.jit(jax.vmap(search))(stack))
    for matrix, moving, truth in zip(together, stack, truths, strict=True):
        assert error(matrix, truth, POINTS)[0] < 1
        assert error(matrix, np.asarray(search(moving)), POINTS)[0] < 0.05


def test_unknown_words_are_refused():
    image = np.ones((8, 8, 8), np.float32)
    with pytest.raises(ValueError, match="ncc or mi"):
        align(image, image, np.eye(4), np.eye(4), similarity="ssd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind must be"):
        align(image, image, np.eye(4), np.eye(4), kind="similarity")  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [np.zeros((9, 9, 9), np.float32), np.ones((9, 9, 9), np.float32)])
def test_images_without_structure_give_finite_matrices(image):
    result = align(image, image, np.eye(4), np.eye(4), config=CONFIG)
    assert np.isfinite(result.matrix).all()


def test_differentiable_within_a_jitted_pipeline():
    # Blending the moving image towards a shifted one moves the optimum: the implicit derivative of
    # the shift must agree with what a second search finds.
    fixed = jnp.asarray(brain(SHAPE, AFFINE))
    near = brain(SHAPE, AFFINE, transform(shift=(3, 0, 0)))
    far = brain(SHAPE, AFFINE, transform(shift=(4, 0, 0)))
    inside = (near > 0) & (far > 0)
    near, far = jnp.asarray(near * inside), jnp.asarray(far * inside)
    config = AlignmentConfig(points=(20,), resolution=(28,), iterations=(10,), candidates=(1,))

    @jax.jit
    @jax.value_and_grad
    def shift(blend):
        moving = near + blend * (far - near)
        return align(fixed, moving, AFFINE, AFFINE, kind="translation", config=config).matrix[0, 3]

    _, slope = shift(0.5)
    difference = (shift(0.8)[0] - shift(0.2)[0]) / 0.6
    assert difference > 0.2
    np.testing.assert_allclose(slope, difference, rtol=0.1)
