"""nitransforms reads our files as we mean them (all but FSL's warps, which it reads otherwise)."""

import numpy as np
import pytest

from drivenmorph_jax.images import (
    Transform,
    write_fsl_affine,
    write_itk_affine,
    write_itk_displacement,
    write_lta,
)
from tests.images.pairs import MATRIX, NAMES, pair, points_inside, world_points

pytestmark = pytest.mark.tools


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_affines(fixed_name, moving_name, tmp_path):
    linear = pytest.importorskip("nitransforms").linear
    case = pair(fixed_name, moving_name)
    case.save(tmp_path)
    images = {
        f: str(tmp_path / f"{n}.nii.gz") for f, n in (("reference", "fixed"), ("moving",) * 2)
    }
    write_itk_affine(tmp_path / "a.tfm", MATRIX)
    write_lta(tmp_path / "a.lta", MATRIX, case.fixed_grid, case.moving_grid)
    write_fsl_affine(tmp_path / "a.mat", MATRIX, case.fixed_grid, case.moving_grid)
    points = points_inside(case.fixed_grid)
    for name, format in (("a.tfm", "itk"), ("a.lta", "fs"), ("a.mat", "fsl")):
        theirs = linear.load(tmp_path / name, fmt=format, **images).map(points)
        np.testing.assert_allclose(theirs, Transform.from_matrix(MATRIX)(points), atol=1e-3)


@pytest.mark.parametrize(("fixed_name", "moving_name"), NAMES)
def test_itk_fields(fixed_name, moving_name, tmp_path):
    nonlinear = pytest.importorskip("nitransforms.nonlinear")
    case = pair(fixed_name, moving_name)
    write_itk_displacement(tmp_path / "warp.nii.gz", case.displacement, case.fixed.affine)
    field = nonlinear.DenseFieldTransform.from_filename(tmp_path / "warp.nii.gz", fmt="itk")
    points = world_points(case.fixed_grid)[4:-4, 4:-4, 4:-4].reshape(-1, 3)
    np.testing.assert_allclose(field.map(points), case.transform(points), atol=1e-3)
