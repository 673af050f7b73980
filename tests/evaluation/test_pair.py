import numpy as np
import pytest

from drivenmorph_jax.data import NativeLabels, Subject
from drivenmorph_jax.evaluation import carry_labels, score_pair

SHAPE = (12, 14, 12)


def subject(*boxes, name="one"):
    """Labels 1, 2, … in boxes of (start, stop), the same along the three axes."""
    labels = np.zeros(SHAPE, np.int32)
    for value, (start, stop) in enumerate(boxes, 1):
        labels[start:stop, start:stop, start:stop] = value
    return Subject(name, labels.astype(np.float32), labels)


def constant(*vector):
    return np.broadcast_to(np.array(vector, np.float32), (*SHAPE, 3))


def test_perfect_registration_scores_perfectly():
    fixed = subject((2, 6), (7, 10))
    moving = Subject("two", np.roll(fixed.image, 1, 2), np.roll(fixed.labels, 1, 2))
    truth = constant(0, 0, 1)
    score = score_pair(
        truth, fixed, moving, [1, 2], spacing=(1, 1, 2), truth=truth + 0.0, seconds=3.0
    )
    assert score.dice == 1 and score.dice_before < 1
    assert score.hd95 == 0 and score.sdlogj == 0
    assert score.folding_percent == 0 and score.ndv_percent == 0
    assert score.seconds == 3
    assert (score.error_voxels, score.error_mm) == (0, 0)
    assert (score.error_voxels_before, score.error_mm_before) == pytest.approx((1, 2))


def test_erased_label_scores_nothing_and_absent_one_is_not_counted():
    fixed, moving = subject((2, 6), (7, 10)), subject((2, 6), (7, 10), name="two")
    displacement = constant(0, 0, 0).copy()
    displacement[7:10, 7:10, 7:10] = 100  # Label 2 is fetched from beyond the grid.
    score = score_pair(displacement, fixed, moving, [1, 2, 3])
    assert score.dice == pytest.approx(0.5) and score.dice_before == 1
    assert score.hd95 == pytest.approx(np.sqrt(3 * 8**2) / 2)  # Labels fill a box of 8³.


def test_folding_counts_in_the_brain_only():
    fixed = subject((2, 6))
    displacement = constant(0, 0, 0).copy()
    displacement[8:, :, :, 0] = -4.0 * np.arange(4).reshape(-1, 1, 1)
    outside = score_pair(displacement, fixed, fixed, None)
    assert outside.folding_percent == 0 and outside.ndv_percent == 0 and np.isnan(outside.dice)
    inside = score_pair(np.roll(displacement, -6, 0), fixed, fixed, None)
    assert inside.folding_percent > 0 and inside.ndv_percent > 0


def test_labels_come_from_the_nearest_voxel():
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    one = Subject("one", labels.astype(np.float32), labels)
    target, carried = carry_labels(one, one, constant(0.4, -0.4, 1.2))
    np.testing.assert_array_equal(target, labels)
    np.testing.assert_array_equal(carried[..., :-1], labels[..., 1:])
    assert (carried[..., -1] == 0).all()


def test_native_labels_go_through_affine_and_displacement_at_once():
    """Against the chain worked out voxel by voxel; both subjects lie askew on the common grid."""
    rng = np.random.default_rng(0)
    natives, subjects = [], []
    for name, shape in (("fixed", (9, 11, 10)), ("moving", (13, 8, 12))):
        matrix = np.eye(4)
        matrix[:3, :3] += rng.normal(0, 0.1, (3, 3))
        matrix[:3, 3] = rng.uniform(-2, 2, 3)
        native = NativeLabels(rng.integers(1, 99, shape), matrix)
        natives.append(native)
        empty = np.zeros(SHAPE)
        subjects.append(Subject(name, empty, empty.astype(int), native))
    ramp = rng.normal(0, 0.1, (3, 3))  # A linear field: exact between voxels.
    displacement = np.einsum("ij,j...->...i", ramp, np.indices(SHAPE)).astype(np.float32)
    target, carried = carry_labels(*subjects, displacement)
    np.testing.assert_array_equal(target, natives[0].labels)
    same = []
    for voxel in np.ndindex(*target.shape):
        common = np.linalg.solve(natives[0].from_common, [*voxel, 1])[:3]
        if (common < 0).any() or (common > np.array(SHAPE) - 1).any():
            continue  # Beyond the common grid the field is continued by its edge.
        place = natives[1].from_common @ [*(common + ramp @ common), 1]
        nearest = np.rint(place[:3]).astype(int)
        inside = (nearest >= 0).all() and (nearest < natives[1].labels.shape).all()
        expected = natives[1].labels[tuple(nearest)] if inside else 0
        same.append(carried[voxel] == expected)
    assert len(same) > 300 and np.mean(same) > 0.995
