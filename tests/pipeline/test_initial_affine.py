"""An affine of the user's in place of the search."""

import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import (
    Grid,
    Transform,
    write_itk_affine,
    write_itk_displacement,
    write_transform,
)
from drivenmorph_jax.model import Registration
from drivenmorph_jax.pipeline import Method, register_volumes, registration
from drivenmorph_jax.pipeline.initial_affine import read_initial_affine
from drivenmorph_jax.pipeline.stages import Stages
from tests.pipeline.brains import brain
from tests.pipeline.canned import SPACING, between, level


def still(fixed, moving, ignored) -> Registration:
    """A method that moves nothing."""
    return Registration(np.zeros((*fixed.shape, 3), np.float32), (level(fixed.shape, halvings=0),))


METHOD = Method("still", SPACING, None, still, {})


def test_it_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(registration, "align", None)  # nobody may call it
    matrix = between("plain", "oblique")
    write_itk_affine(tmp_path / "affine.mat", matrix)
    fixed, moving = brain("plain"), brain("oblique")
    given = read_initial_affine(tmp_path / "affine.mat", fixed, moving)
    stages = Stages()
    registered = register_volumes(fixed, moving, METHOD, initial_affine=given, stages=stages)
    assert "affine" not in stages.seconds and registered.alignment is None
    np.testing.assert_allclose(registered.matrix, matrix, atol=1e-9)
    points = np.argwhere(fixed.data != 0)
    world = points @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    expected = world @ matrix[:3, :3].T + matrix[:3, 3] - world
    np.testing.assert_allclose(registered.displacement[tuple(points.T)], expected, atol=1e-4)


def test_the_wrong_way_round_is_one_clear_line():
    away = np.eye(4)
    away[:3, 3] = 300
    with pytest.raises(InputError, match="leads from the fixed to the moving"):
        register_volumes(brain("plain"), brain("plain"), METHOD, initial_affine=away)


@pytest.mark.parametrize("format", ["itk.mat", "itk.tfm", "fsl.mat", "freesurfer.lta"])
def test_every_tools_file_means_the_same(format, tmp_path):
    fixed, moving = brain("oblique"), brain("permuted")
    matrix = between("oblique", "permuted")
    kind, path = format.split(".")[0], tmp_path / format
    grids = {"fixed": Grid(fixed.shape, fixed.affine), "moving": Grid(moving.shape, moving.affine)}
    write_transform(path, Transform.from_matrix(matrix), format=kind, **grids)
    np.testing.assert_allclose(read_initial_affine(path, fixed, moving), matrix, atol=1e-4)


@pytest.mark.parametrize("matrix", [np.diag([-1.0, 1, 1, 1]), np.diag([1e-3, 1e-3, 1, 1])])
def test_one_that_mirrors_or_flattens_is_refused(matrix, tmp_path):
    path = tmp_path / "affine.mat"
    write_itk_affine(path, matrix)
    with pytest.raises(InputError, match=f"{path}: its determinant"):
        read_initial_affine(path, brain("plain"), brain("plain"))


def test_what_is_no_affine_is_refused(tmp_path):
    volume = brain("plain")
    (tmp_path / "text.tfm").write_text("1 0 0")
    write_itk_displacement(tmp_path / "warp.nii.gz", np.zeros((*volume.shape, 3)), volume.affine)
    for name in ("none.mat", "text.tfm", "warp.nii.gz", "affine.xyz"):
        with pytest.raises(InputError, match=name):
            read_initial_affine(tmp_path / name, volume, volume)
