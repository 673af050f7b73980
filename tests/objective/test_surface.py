"""Surface distances: areas, closed forms, and the official definition written out."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from drivenmorph_jax.objective import surface
from drivenmorph_jax.objective.surface import robust_hausdorff


def _box(shape, *ranges):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def _blob(seed, shape=(12, 10, 11)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return noise > 0.02


def test_areas_are_the_same_inside_out_and_from_every_side():
    areas = surface._area_of_codes()
    np.testing.assert_array_equal(areas, areas[::-1])
    corners = list(itertools.product((0, 1), repeat=3))
    for code in range(256):
        cube = np.array([code >> bit & 1 for bit in range(8)]).reshape(2, 2, 2)
        for turned in (cube.transpose(1, 2, 0), cube.transpose(1, 0, 2), cube[::-1]):
            other = sum(int(turned[corner]) << bit for bit, corner in enumerate(corners))
            assert areas[code] == areas[other]
    # The sum over the lookup table that the reference package ships.
    np.testing.assert_allclose(areas.sum(), 241.3431397055, rtol=1e-12)


def test_areas_of_a_slab_and_of_a_voxel():
    voxel = surface._surface_area(np.ones((1, 1, 1), bool))
    np.testing.assert_allclose(voxel, 3**0.5 / 8)
    assert voxel.shape == (2, 2, 2)
    slab = surface._surface_area(np.ones((5, 4, 3), bool))
    np.testing.assert_allclose(slab[0, 1:-1, 1:-1], 1)
    np.testing.assert_allclose(slab[0, 0, 1:-1], 2**0.5 / 2)
    assert not slab[1:-1, 1:-1, 1:-1].any()


def test_distance_between_parallel_slabs():
    a = _box((12, 9, 9), (2, 4), (0, 9), (0, 9))
    b = _box((12, 9, 9), (5, 9), (0, 9), (0, 9))
    # Faces at corners 2 and 4 against 5 and 9: 3 and 1 voxels one way, 1 and 5 the other.
    assert robust_hausdorff(a, b) == 5
    assert robust_hausdorff(a, b, percentile=20) == 1
    assert robust_hausdorff(a, a) == 0


def test_the_percentile_is_of_area_not_of_points():
    """A far speck of 8 corners, 10 % of the points but 3 % of the area."""
    a = _box((30, 9, 9), (2, 5), (2, 5), (2, 5))
    speck = _box((30, 9, 9), (28, 29), (4, 5), (4, 5))
    area = surface._surface_area(a | speck)
    far = surface._surface_area(speck)
    assert far.sum() / area.sum() < 0.05 < (far > 0).sum() / (area > 0).sum()
    assert robust_hausdorff(a | speck, a) == 0
    assert robust_hausdorff(a | speck, a, percentile=100) > 20


def _official(a, b):
    """As the challenge computes it: neighbour codes by correlation, sorted (distance, area)."""
    kernel = 2 ** np.arange(8).reshape(2, 2, 2)

    def codes(mask) -> np.ndarray:
        padded = np.pad(mask, [(0, 1)] * 3).astype(int)
        return np.asarray(ndimage.correlate(padded, kernel, mode="constant", cval=0))

    code_a, code_b = codes(a), codes(b)
    border_a, border_b = ((c != 0) & (c != 255) for c in (code_a, code_b))
    areas, results = surface._area_of_codes(), []
    for here, border, there in ((code_a, border_a, border_b), (code_b, border_b, border_a)):
        distance = np.asarray(ndimage.distance_transform_edt(~there))[border]
        pairs = np.array(sorted(zip(distance, areas[here][border], strict=True)))
        cumulative = np.cumsum(pairs[:, 1]) / pairs[:, 1].sum()
        index = min(np.searchsorted(cumulative, 0.95), len(pairs) - 1)
        results.append(pairs[index, 0])
    return max(results)


@pytest.mark.parametrize("seed", range(8))
def test_hd95_is_the_official_one(seed):
    """Blobs that touch the border of the array too."""
    a, b = _blob(seed), _blob(seed + 100)
    np.testing.assert_allclose(robust_hausdorff(a, b), _official(a, b), rtol=1e-12)
    assert robust_hausdorff(a, b) == robust_hausdorff(b, a) > 0


def test_does_not_depend_on_the_empty_space_around():
    a, b = _blob(0), _blob(1)
    padded = [np.pad(mask, [(3, 0), (1, 5), (2, 2)]) for mask in (a, b)]
    assert robust_hausdorff(*padded) == robust_hausdorff(a, b)


def test_an_empty_mask_is_infinitely_far():
    a = _blob(0)
    assert robust_hausdorff(a, np.zeros_like(a)) == np.inf
    assert robust_hausdorff(np.zeros_like(a), a) == np.inf


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        robust_hausdorff(_blob(0), _blob(0)[:1])
