"""Tools that are no dependency: their displacements are ours in direction, axes and units."""

import numpy as np
import pytest
from scipy import ndimage

pytestmark = [pytest.mark.tools, pytest.mark.filterwarnings("ignore")]
SPACING = (2.0, 1.5, 2.5)
SHIFT = (2.0, -1.0, 1.5)


@pytest.fixture
def shifted():
    """Blobs, and the same moved: moving(x + SHIFT) = fixed(x)."""
    rng = np.random.default_rng(0)
    fixed = ndimage.gaussian_filter(rng.normal(size=(36, 36, 36)), 2.5)
    window = np.prod(np.meshgrid(*[np.hanning(36)] * 3, indexing="ij"), axis=0)
    fixed = (window * (1 + fixed / fixed.std() / 2)).astype(np.float32)
    return fixed, ndimage.shift(fixed, SHIFT, order=1)


def assert_shift_found(displacement, tolerance):
    middle = displacement[12:24, 12:24, 12:24].reshape(-1, 3)
    np.testing.assert_allclose(np.median(middle, axis=0), SHIFT, atol=tolerance)


def test_dipy_syn(shifted):
    pytest.importorskip("dipy.align.imwarp")
    import dipy_syn

    displacement = dipy_syn.register(*shifted, SPACING, iterations=[20, 10])
    assert displacement.shape == (36, 36, 36, 3)
    assert_shift_found(displacement, 0.5)


def test_convex_adam(shifted):
    pytest.importorskip("convexAdam.convex_adam_MIND")
    import convex_adam

    fixed, moving = (image[:, :34] for image in shifted)
    displacement = convex_adam.register(fixed, moving)
    assert displacement.shape == (36, 34, 36, 3)
    assert_shift_found(displacement, 0.7)
