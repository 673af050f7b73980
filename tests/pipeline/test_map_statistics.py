"""Figures of a map on any grid."""

import numpy as np
import pytest

from drivenmorph_jax.images.world_jacobian import world_jacobian
from drivenmorph_jax.objective.metrics import ndv_percent
from drivenmorph_jax.pipeline import map_statistics
from drivenmorph_jax.pipeline.derived_fields import Fields
from drivenmorph_jax.pipeline.force_fields import ForceFields
from drivenmorph_jax.pipeline.inverse_map import Consistency, Distances, Inverse
from drivenmorph_jax.pipeline.map_statistics import (
    consistency_statistics,
    ndv_percent_on_grid,
    whole_map_statistics,
)
from tests.images.geometries import affine
from tests.pipeline.canned import canned, smooth


@pytest.mark.parametrize("margin", [0, 4])
def test_ndv_in_slabs_is_that_of_the_whole(margin, monkeypatch):
    monkeypatch.setattr(map_statistics, "_PLANES", 5)
    shape = (23, 14, 12)
    folded = smooth(shape, 30.0, seed=0)
    brain = np.zeros(shape, bool)
    brain[margin : shape[0] - margin, 2:-2, 3:-3] = True
    expected = ndv_percent(folded, mask=brain)
    assert expected > 0.1
    geometry = affine((2, 1.5, 3), signs=(-1, 1, -1), degrees=(10, -25, 40), shape=shape)
    in_mm = folded @ geometry[:3, :3].T
    assert ndv_percent_on_grid(in_mm, geometry, brain) == pytest.approx(expected, rel=1e-4)


def fields_of(made) -> Fields:
    jacobian = world_jacobian(made.registered.displacement, made.fixed.affine)
    nothing = made.registered.displacement * 0
    inverse = Inverse(nothing, Consistency(None, None))
    return Fields(nothing, jacobian, jacobian, ForceFields(nothing, nothing), inverse)


def test_an_affine_does_not_change_the_spread_of_the_logarithm():
    made = canned("oblique", "thick")
    figures = whole_map_statistics(made.registered, fields_of(made), made.fixed)
    linear = np.diag([1.3, 0.8, 1.1])
    index = np.stack(np.meshgrid(*map(np.arange, made.fixed.shape), indexing="ij"), axis=-1)
    x = index @ made.fixed.affine[:3, :3].T + made.fixed.affine[:3, 3]
    further = (x + made.registered.displacement) @ linear.T - x
    other = made._replace(registered=made.registered._replace(displacement=further))
    changed = whole_map_statistics(other.registered, fields_of(other), made.fixed)
    assert figures["sd_log_jacobian"] == pytest.approx(changed["sd_log_jacobian"], rel=1e-3)
    assert figures["sd_log_jacobian"] > 0.05
    ratio = changed["jacobian"]["median"] / figures["jacobian"]["median"]
    assert ratio == pytest.approx(np.linalg.det(linear), rel=1e-3)
    assert figures["folding_percent"] == figures["ndv_percent"] == 0


def test_what_was_not_measured_is_null():
    figures = consistency_statistics(Consistency(None, Distances(0.01, 0.04, 0.3)))
    assert figures["there_and_back"] is None
    assert figures["back_and_there"] == {"mean_mm": 0.01, "p99_mm": 0.04, "largest_mm": 0.3}
