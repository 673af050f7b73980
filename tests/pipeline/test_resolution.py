"""Which grid a pair is registered on, and what is done where it is finer than the method's own."""

import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.images import Volume
from drivenmorph_jax.model import Ignored, ModelConfig, Registration
from drivenmorph_jax.model.correlation import with_correlation
from drivenmorph_jax.pipeline import (
    RefineConfig,
    demons_method,
    load_pretrained,
    network_method,
    refined_method,
    register_files,
)
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.resolution import at_resolution_of


def image(*spacing: float) -> Volume:
    return Volume(np.ones((4, 4, 4), np.float32), np.diag([*spacing, 1.0]))


def method(**changes) -> Method:
    """One that tells what it was given: the shapes, and a displacement that counts calls."""

    def solve(fixed, moving, ignored):
        assert fixed.shape == moving.shape
        if ignored is not None:
            assert ignored.fixed.shape == ignored.moving.shape == (*fixed.shape, 1)
        return Registration(jnp.full((*fixed.shape, 3), fixed.mean()), ())

    def finish(fixed, moving, ignored, displacement):
        assert displacement.shape[:3] == tuple(-(-n // 2) for n in fixed.shape)
        return np.full((*fixed.shape, 3), 10 + displacement.mean())

    made = Method("made up", (2.0, 2.0, 2.0), (8, 10, 8), solve, {}, finish=finish)
    return made._replace(**changes)


@pytest.mark.parametrize(
    ("fixed", "moving", "spacing"),
    [
        ((1, 1, 1), (1, 1, 1), 1),
        ((0.94, 0.94, 1.2), (0.7, 0.7, 0.7), 1),
        ((1, 1, 1), (1, 1, 1.3), 2),
        ((2, 2, 2), (1, 1, 1), 2),
        ((0.5, 0.5, 4), (0.5, 0.5, 4), 2),
    ],
)
def test_the_finer_grid_is_for_two_images_that_are_as_fine(fixed, moving, spacing):
    chosen = at_resolution_of(method(), image(*fixed), image(*moving))
    assert chosen.spacing == (spacing,) * 3
    assert chosen.least_shape == ((16, 20, 16) if spacing == 1 else (8, 10, 8))


def test_a_method_without_use_for_it_stays_as_it_is():
    fine = image(1, 1, 1)
    mind = ModelConfig(sees="mind", correlation_iterations=(10, 40))
    found = load_pretrained()
    any_contrast = found._replace(config=mind, params=with_correlation(found.params, mind))
    for made in (
        method(finish=None),
        method(spacing=None),
        demons_method(),
        network_method(found, finer=False),
        network_method(any_contrast),
    ):
        assert at_resolution_of(made, fine, fine) is made
    going_on = network_method(found)
    assert at_resolution_of(going_on, fine, fine).spacing == (1, 1, 1)
    assert going_on.details["finer_iterations"] > 0
    refined = refined_method(going_on, RefineConfig(2))
    assert at_resolution_of(refined, fine, fine).spacing == (1, 1, 1)


@pytest.mark.parametrize("shape", [(16, 20, 16), (15, 12, 9)])
def test_solved_at_half_the_resolution_and_finished_at_the_whole(shape):
    chosen = at_resolution_of(method(), image(1, 1, 1))
    fixed = np.ones(shape, np.float32)
    share = jnp.ones((*shape, 1))
    for ignored in (None, Ignored(share, share)):
        found = chosen.solve(fixed, fixed, ignored)
        mean = float(found.displacement.mean())
        assert found.displacement.shape == (*shape, 3)
        # Halves of odd axes are padded with background.
        assert mean == pytest.approx(11, abs=0.3) and (mean < 11) == (15 in shape)


@pytest.mark.slow
@pytest.mark.realdata
def test_two_images_of_1_mm_are_brought_closer_than_at_2_mm(real_data, tmp_path):
    folder = real_data / "malf_1mm" / "val"
    summaries = [
        register_files(
            folder / "1000_t1.nii.gz",
            folder / "1001_t1.nii.gz",
            tmp_path / str(finer),
            network_method(load_pretrained(), finer=finer),
            fixed_labels=folder / "1000_manual139.nii.gz",
            moving_labels=folder / "1001_manual139.nii.gz",
        )
        for finer in (False, True)
    ]
    coarse, fine = (summary["dice"]["after"] for summary in summaries)
    assert fine > coarse + 0.01
    assert summaries[1]["deformation"]["folding_percent"] < 0.05
