"""SDlogJ, folding and NDV against maps whose determinants are known."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.objective.diffeomorphism import folding_percent, ndv_percent, sdlogj
from drivenmorph_jax.spatial.jacobian import jacobian_determinant

SHAPE = (7, 6, 8)


def _grid(shape=SHAPE):
    return np.stack(np.meshgrid(*[np.arange(float(n)) for n in shape], indexing="ij"), -1)


def _random(seed=0, scale=0.6, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=(*shape, 3)) * scale


@pytest.mark.parametrize("metric", [sdlogj, folding_percent, ndv_percent])
def test_identity_translation_and_rotation_are_perfect(metric):
    angle = 0.4
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    rotated = _grid() @ (turn - np.eye(3)).T
    # Edge padding makes the outermost shell of NDV one-sided: compare the inside.
    inside = np.zeros(SHAPE)
    inside[1:-1, 1:-1, 1:-1] = 1
    for field in (np.zeros((*SHAPE, 3)), np.full((*SHAPE, 3), 1.7), rotated):
        np.testing.assert_allclose(metric(field, mask=inside), 0, atol=1e-12)


def test_sdlogj_is_learn2regs_formula():
    field = _random(scale=1.5)
    determinants = []
    for x in itertools.product(*[range(2, n - 2) for n in SHAPE]):
        matrix = np.eye(3)
        for j in range(3):
            step = np.eye(3, dtype=int)[j]
            matrix[:, j] += (field[tuple(x + step)] - field[tuple(x - step)]) / 2
        determinants.append(np.linalg.det(matrix))
    expected = np.log(np.clip(np.array(determinants) + 3, 1e-9, 1e9)).std()
    np.testing.assert_allclose(sdlogj(field), expected, rtol=1e-10)
    assert min(determinants) < -3  # so that the clip is tried as well


def test_folding_counts_voxels_whose_determinant_is_not_positive():
    flipped = -1.5 * _grid() * np.array([1, 0, 0])
    assert folding_percent(flipped) == 100
    field = _random(scale=1.0)
    expected = 100 * np.mean(jacobian_determinant(jnp.asarray(field)) <= 0)
    np.testing.assert_allclose(folding_percent(field), expected)
    assert 5 < folding_percent(field) < 95
    collapsed = -1.0 * _grid() * np.array([0, 1, 0])
    assert folding_percent(collapsed) == 100


def test_the_mask_chooses_the_voxels():
    field = np.zeros((*SHAPE, 3))
    field[:3] = (-2.5 * _grid() * np.array([1, 0, 0]))[:3]
    mask = np.zeros(SHAPE, bool)
    mask[:2] = True
    assert folding_percent(field, mask=mask) == 100
    assert folding_percent(field) < 60
    assert ndv_percent(field, mask=mask) > ndv_percent(field) > 0
    assert np.isnan(folding_percent(field, mask=np.zeros(SHAPE)))
    smooth = 0.1 * _random()
    half = np.zeros(SHAPE)
    half[:, :, :4] = 1
    assert sdlogj(smooth, mask=half) != sdlogj(smooth) != 0


def _ndv_by_tetrahedra(field):
    """Ten signed determinants a voxel, one after another, on the edge-padded field."""
    shape = field.shape[:3]

    def position(x):
        return x + field[tuple(np.clip(x, 0, np.array(shape) - 1))]

    total = 0.0
    for x in np.ndindex(*shape):
        x = np.array(x)
        triples = []
        for sx, sy, sz in itertools.product((1, -1), repeat=3):
            ends = np.diag([sx, sy, sz])
            triples.append((ends, sx * sy * sz))
        triples.append((np.array([[-1, -1, 0], [-1, 0, -1], [0, -1, -1]]), 1))
        triples.append((np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]]), 1))
        for ends, orientation in triples:
            edges = np.stack([position(x + end) - position(x) for end in ends])
            total += max(0.0, -orientation * np.linalg.det(edges)) / 12
    return 100 * total / np.prod(shape)


@pytest.mark.parametrize("seed", range(3))
def test_ndv_is_its_definition(seed):
    field = _random(seed, scale=0.7, shape=(4, 5, 3))
    np.testing.assert_allclose(ndv_percent(field), _ndv_by_tetrahedra(field), rtol=1e-10)
    assert ndv_percent(field) > 1


def test_the_ten_tetrahedra_fill_the_volume():
    """The map x -> −x turns over every one of them: the volume counts once."""
    inside = np.zeros(SHAPE)
    inside[1:-1, 1:-1, 1:-1] = 1
    np.testing.assert_allclose(ndv_percent(-2 * _grid(), mask=inside), 100, rtol=1e-12)


def test_ndv_sees_the_checkerboard_that_central_differences_miss():
    field = np.zeros((*SHAPE, 3))
    field[::2, :, :, 0] = 1.3
    assert folding_percent(field[1:-1]) < 100
    central = np.zeros(SHAPE)
    central[1:-1, 1:-1, 1:-1] = 1
    assert folding_percent(field, mask=central) == 0
    assert ndv_percent(field, mask=central) > 10


def test_what_is_no_displacement_is_refused():
    for metric in (sdlogj, folding_percent, ndv_percent):
        with pytest.raises(ValueError, match="displacement"):
            metric(np.zeros((3, *SHAPE)))
        with pytest.raises(ValueError, match="mask"):
            metric(np.zeros((*SHAPE, 3)), mask=np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="voxels"):
        sdlogj(np.zeros((4, 6, 6, 3)))
