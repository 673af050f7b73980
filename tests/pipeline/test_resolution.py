"""Which grid a pair is registered on, and what is done where it is finer than the method's own."""

import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, warp_volume
from drivenmorph_jax.model import Ignored, ModelConfig, Registration
from drivenmorph_jax.model.correlation_parameters import with_correlation
from drivenmorph_jax.objective.loss import LossConfig
from drivenmorph_jax.pipeline import (
    RefineConfig,
    demons_method,
    load_pretrained,
    network_method,
    refined_method,
    register_files,
    register_volumes,
)
from drivenmorph_jax.pipeline.methods import Method
from drivenmorph_jax.pipeline.resolution import at_resolution_of
from drivenmorph_jax.pipeline.scans import read_scans
from drivenmorph_jax.pipeline.summary import dice_statistics
from drivenmorph_jax.pipeline.working_space import choose_grid


def image(*spacing: float) -> Volume:
    """A cube of 60 mm."""
    shape = [round(60 / size) for size in spacing]
    return Volume(np.ones(shape, np.float32), np.diag([*spacing, 1.0]))


def method(**changes) -> Method:
    """One that checks the shapes it is given; its displacement tells who has made it."""

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


def resolved(made: Method, fixed: Volume, moving: Volume | None = None):
    """The way to solve, the spacing, and the shape that are chosen for two images."""
    grid = choose_grid(fixed, spacing=made.spacing, least_shape=made.least_shape)
    solve, chosen = at_resolution_of(made, grid, fixed, fixed if moving is None else moving)
    spacing = np.linalg.norm(chosen.affine[:3, :3], axis=0)
    return solve, tuple(spacing.round(3).tolist()), chosen


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
    _, chosen, grid = resolved(method(), image(*fixed), image(*moving))
    assert chosen == (spacing,) * 3
    coarse = choose_grid(image(*fixed), spacing=(2.0, 2.0, 2.0), least_shape=method().least_shape)
    assert grid.shape == tuple(size * 2 // spacing for size in coarse.shape)


def test_every_axis_counts():
    slices = method(spacing=(1.0, 1.0, 3.0))
    assert resolved(slices, image(0.5, 0.5, 1.5))[1] == (0.5, 0.5, 1.5)
    assert resolved(slices, image(1, 1, 1.5))[1] == (1, 1, 3)


def test_points_of_the_finer_grid_are_the_images_own_voxels():
    fixed = image(1, 1, 1)
    _, _, grid = resolved(method(), fixed)
    voxels = np.linalg.inv(fixed.affine) @ grid.affine[:, 3]
    np.testing.assert_allclose(voxels, voxels.round(), atol=1e-6)


def test_what_is_judged_is_the_brain_in_mm_and_a_grid_too_large_stays_coarse():
    """Stray voxels that span 270 mm fit a grid of 2 mm; a brain of 14 mm fits neither."""
    wide = np.zeros((270, 60, 60), np.float32)
    wide[[0, -1]] = 1
    made = method()
    solve, spacing, _ = resolved(made, Volume(wide, np.eye(4)))
    assert spacing == (2, 2, 2) and solve is made.solve
    with pytest.raises(InputError, match="too little to register"):
        resolved(method(), Volume(np.ones((14, 14, 14), np.float32), np.eye(4)))


def test_a_method_without_use_for_it_stays_as_it_is():
    fine = image(1, 1, 1)
    mind = ModelConfig(sees="mind", correlation_iterations=(10, 40))
    found = load_pretrained()
    any_contrast = found._replace(config=mind, params=with_correlation(found.params, mind))
    going_on = network_method(found)
    across = RefineConfig(2, LossConfig(similarity="mi"))
    for made in (
        method(finish=None),
        method(spacing=None, finish=None),
        demons_method(),
        network_method(found, finer=False),
        network_method(any_contrast),
        refined_method(going_on, across),
    ):
        own = made.spacing or (1, 1, 1)
        solve, spacing, _ = resolved(made, fine)
        assert solve is made.solve and spacing == own
        assert made.finish is None
    for made in (going_on, refined_method(going_on, RefineConfig(2))):
        assert resolved(made, fine)[1] == (1, 1, 1)
        assert made.details["goes_on_finer"] is True
    assert "goes_on_finer" not in network_method(found, finer=False).details


@pytest.mark.parametrize("shape", [(16, 20, 16), (15, 12, 9)])
def test_solved_at_half_the_resolution_and_finished_at_the_whole(shape):
    solve, _, _ = resolved(method(), image(1, 1, 1))
    fixed = np.ones(shape, np.float32)
    share = jnp.ones((*shape, 1))
    for ignored in (None, Ignored(share, share)):
        found = solve(fixed, fixed, ignored)
        mean = float(found.displacement.mean())
        assert found.displacement.shape == (*shape, 3)
        # Halves of odd axes are padded with background.
        assert mean == pytest.approx(11, abs=0.3) and (mean < 11) == (15 in shape)


@pytest.mark.slow
@pytest.mark.realdata
def test_two_images_of_1_mm_are_brought_closer_than_at_2_mm(real_data, tmp_path):
    folder = real_data / "malf_1mm" / "val"
    paths = [folder / f"{name}_t1.nii.gz" for name in (1000, 1001)]
    labels = [folder / f"{name}_manual139.nii.gz" for name in (1000, 1001)]
    fine = register_files(
        *paths,
        tmp_path / "out",
        network_method(load_pretrained()),
        fixed_labels=labels[0],
        moving_labels=labels[1],
    )
    scans = read_scans(*paths, fixed_labels=labels[0], moving_labels=labels[1])
    coarse = register_volumes(
        scans.fixed,
        scans.moving,
        network_method(load_pretrained(), finer=False),
        initial_affine=np.asarray(fine["affine"]),
    )
    assert scans.moving_labels is not None
    warped = warp_volume(scans.moving_labels, coarse.displacement, scans.fixed.affine, order=0)
    assert fine["dice"]["after"] > dice_statistics(scans, coarse, warped)["after"] + 0.01
    assert fine["deformation"]["folding_percent"] < 0.01
    assert fine["inverse_consistency"]["back_and_there"]["p99_mm"] < 0.1
