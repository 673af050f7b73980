"""Every format on scans whose geometry came from a scanner, applied by the tool it is for."""

import numpy as np
import pytest

from drivenmorph_jax.images import (
    Transform,
    Volume,
    invert_transform,
    load_volume,
    write_composite,
    write_itk_displacement,
)
from tests.images.pairs import Pair, random_field
from tests.images.test_freesurfer import check_surfa
from tests.images.test_fsl import check_fslpy
from tests.images.test_itk import check_simpleitk

PAIRS = {
    "followup": ("patient01_study1_t1w", "patient01_study2_flair"),
    "contrasts_1mm": ("patient07_t1", "patient07_t2"),
}


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.tools
@pytest.mark.parametrize("folder", PAIRS)
def test_the_tools_give_our_warped_scan(folder, real_data, surfa, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    fixed, moving = (load_volume(real_data / folder / f"{name}.nii.gz") for name in PAIRS[folder])
    labels = Volume((moving.data > moving.data.mean()).astype(np.int32) * 7, moving.affine)
    transform = Transform.from_field(random_field(fixed), fixed.affine)
    case = Pair(fixed, moving, labels, transform)
    case.save(tmp_path)

    write_itk_displacement(tmp_path / "warp.nii.gz", case.displacement, fixed.affine)
    field = sitk.ReadImage(str(tmp_path / "warp.nii.gz"), sitk.sitkVectorFloat64)
    check_simpleitk(sitk, case, sitk.DisplacementFieldTransform(field), tmp_path)
    write_composite(tmp_path / "t.h5", transform)
    check_simpleitk(sitk, case, sitk.ReadTransform(str(tmp_path / "t.h5")), tmp_path)
    check_fslpy(case, tmp_path)
    check_surfa(surfa, case, tmp_path)


@pytest.mark.realdata
@pytest.mark.slow
def test_the_inverse_on_a_scan(real_data):
    names = PAIRS["followup"]
    fixed, moving = (load_volume(real_data / "followup" / f"{name}.nii.gz") for name in names)
    case = Pair(fixed, moving, moving, Transform.from_field(random_field(fixed), fixed.affine))
    residual = invert_transform(case.transform, case.moving_grid).residual
    assert residual is not None and residual.max() < 0.001
