"""The imposed deformations: as large and smooth as they say, invertible, with known origins."""

import numpy as np
import pytest
from imposed import LENGTHS, MEAN, PEAK, impose, origins, points_in, smooth_noise

# A brain of 128 mm at 4 mm: the whole deformation, quickly.
SHAPE, SPACING = (40, 40, 40), 4.0
BRAIN = (np.indices(SHAPE) - 19.5 <= 16).all(0) & (np.indices(SHAPE) - 19.5 >= -16).all(0)


@pytest.fixture(scope="module")
def found():
    return impose(0, BRAIN, SPACING)


def test_they_meet_their_bounds_and_are_invertible(found):
    sizes = np.linalg.norm(found.displacement[BRAIN], axis=-1) * SPACING
    assert found.peak == pytest.approx(sizes.max()) and sizes.max() >= PEAK
    assert found.mean == pytest.approx(sizes.mean()) and sizes.mean() >= MEAN
    # As small as that: one of the bounds is what decided.
    assert min(found.peak / PEAK, found.mean / MEAN) < 1.05
    assert LENGTHS[0] <= found.length <= LENGTHS[1]
    slopes = np.stack(np.gradient(found.displacement, axis=(0, 1, 2)), axis=-1) + np.eye(3)
    assert found.determinant > 0
    assert np.linalg.det(slopes).min() == pytest.approx(found.determinant, abs=1e-4)


def test_origins_are_carried_to_their_points(found):
    points = points_in(np.random.default_rng(0), BRAIN, 200)
    assert len(np.unique(points, axis=0)) == 200 and BRAIN[tuple(points.astype(int).T)].all()
    places = origins(found.displacement, points)
    # Read once more by hand: trilinear, from the eight voxels around.
    low = np.floor(places).astype(int)
    part = places - low
    moved = places.copy()
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, part, 1 - part).prod(-1, keepdims=True)
        moved += weight * found.displacement[tuple((low + corner).T)]
    np.testing.assert_allclose(moved, points, atol=2e-3)


def test_the_correlation_length_is_the_one_asked_for():
    assert impose(0, BRAIN, SPACING, lengths=(30.0, 30.0)).length == 30


def test_folding_deformations_are_refused():
    with pytest.raises(ValueError, match="seed 0 folds"):
        impose(0, BRAIN, SPACING, bounds=(300.0, 4.0))


@pytest.mark.parametrize("length", LENGTHS)
def test_the_noise_has_the_correlation_that_it_is_said_to_have(length):
    rng = np.random.default_rng(3)
    field = np.concatenate([smooth_noise(rng, (184, 184, 184), length) for _ in range(3)], axis=-1)
    assert field.std() == pytest.approx(1, abs=0.1)
    spectrum = np.abs(np.fft.fftn(field, axes=(0, 1, 2))) ** 2
    correlation = np.fft.ifftn(spectrum, axes=(0, 1, 2)).real.sum(-1)
    correlation /= correlation[0, 0, 0]
    along = [correlation[:, 0, 0], correlation[0, :, 0], correlation[0, 0, :]]
    for distance in (8, 16, 24):
        measured = np.mean([line[distance // 4] for line in along])
        assert measured == pytest.approx(np.exp(-((distance / length) ** 2)), abs=0.08)
