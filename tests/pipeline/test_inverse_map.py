"""The way back leads back."""

import numpy as np
import pytest

from drivenmorph_jax.images import Grid, load_volume, transform_points
from drivenmorph_jax.images.geometry import apply_affine
from drivenmorph_jax.pipeline import (
    inverse_map,
    load_pretrained,
    network_method,
    register_volumes,
)
from drivenmorph_jax.pipeline.inverse_map import invert_map
from tests.pipeline.canned import canned


@pytest.mark.parametrize("moving", ["thick", "plain"])
def test_there_and_back(moving):
    made = canned("oblique", moving)
    inverse = invert_map(made.registered, made.fixed, made.moving)
    assert inverse.displacement.shape == (*made.moving.shape, 3)
    there_and_back, back_and_there = inverse.consistency
    assert there_and_back is not None and there_and_back.p99 < 0.3
    assert back_and_there is not None and back_and_there.largest < 0.01
    # Independent of the measure: the brain's points, there and back.
    points = apply_affine(made.fixed.affine, np.argwhere(made.fixed.data != 0)[::97])
    there = transform_points(points, made.registered.displacement, made.fixed.affine)
    assert np.linalg.norm(there - points, axis=-1).min() > 2
    back = transform_points(there, inverse.displacement, made.moving.affine)
    assert np.percentile(np.linalg.norm(back - points, axis=-1), 99) < 0.3


def test_the_inverse_of_an_affine_is_its_inverse():
    made = canned("oblique", "plain", size=0)
    inverse = invert_map(made.registered, made.fixed, made.moving)
    points = apply_affine(made.moving.affine, np.argwhere(made.moving.data != 0))
    index = tuple(np.argwhere(made.moving.data != 0).T)
    expected = apply_affine(np.linalg.inv(made.registered.matrix), points) - points
    np.testing.assert_allclose(inverse.displacement[index], expected, atol=2e-3)


def test_the_written_field_is_what_is_undone():
    """Between voxels 3.6 mm apart the field is another than on the working grid, by a little."""
    made = canned("thick", "plain")
    found = invert_map(made.registered, made.fixed, made.moving).consistency.back_and_there
    index = np.argwhere(made.moving.data != 0)
    start = inverse_map._back_on_the_working_grid(
        made.registered, Grid(made.moving.shape, made.moving.affine)
    )
    points = apply_affine(made.moving.affine, index)
    there = points + start[tuple(index.T)]
    off = transform_points(there, made.registered.displacement, made.fixed.affine) - points
    assert np.linalg.norm(off, axis=-1).max() > 0.05
    assert found is not None and found.largest < 0.01


def test_a_map_that_no_simple_step_inverts():
    """Squeezed to an eighth and more: there the fixed point does not contract."""
    made = canned("plain", "plain", size=0)
    x = np.arange(made.fixed.shape[0], dtype=np.float32)
    squeezed = np.zeros_like(made.registered.displacement)
    squeezed[..., 0] = (-9 * np.tanh((x - 22) / 5))[:, None, None]
    folded = made.registered._replace(matrix=np.eye(4), displacement=squeezed)
    found = invert_map(folded, made.fixed, made.moving).consistency.back_and_there
    assert found is not None and found.p99 < 0.01


def test_brains_that_never_meet_have_no_consistency():
    made = canned("oblique", "plain", size=0)
    away = made.registered.displacement + np.float32(1000)
    apart = made.registered._replace(displacement=away)
    assert invert_map(apart, made.fixed, made.moving).consistency.there_and_back is None


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fixed", "moving"),
    [
        ("ixi_2mm/val/IXI015_t1", "ixi_2mm/val/IXI052_t1"),
        ("followup/patient01_study1_t1w", "followup/patient01_study2_t1w"),
        pytest.param(
            "malf_1mm/val/1000_t1",
            "contrasts_1mm/patient07_t1",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_within_a_tenth_of_a_millimetre_on_real_registrations(fixed, moving, real_data):
    pair = [load_volume(real_data / f"{name}.nii.gz") for name in (fixed, moving)]
    registered = register_volumes(*pair, network_method(load_pretrained()))
    found = invert_map(registered, *pair).consistency
    assert found.back_and_there is not None and found.there_and_back is not None
    assert found.back_and_there.p99 < 0.1
    # Between voxels it is as good as linear interpolation of the written inverse.
    assert found.there_and_back.p99 < 1.5 * pair[1].spacing.max()
