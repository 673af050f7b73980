"""Two real brains, from the files of the scanner's geometry to a warp that SimpleITK applies."""

import json

import numpy as np
import pytest

from drivenmorph_jax import cli


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.tools
def test_register_two_people_at_1_mm(real_data, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    folder = real_data / "malf_1mm" / "val"
    names = sorted(path.name.removesuffix("_t1.nii.gz") for path in folder.glob("*_t1.nii.gz"))
    fixed, moving = (folder / f"{name}_t1.nii.gz" for name in names[:2])
    output = tmp_path / "out"
    arguments = ["register", fixed, moving, "--output", output, "--method", "demons"]
    for option, name in zip(("--fixed-labels", "--moving-labels"), names, strict=False):
        arguments += [option, folder / f"{name}_seg.nii.gz"]
    assert cli.main([str(argument) for argument in arguments]) == 0

    summary = json.loads((output / "summary.json").read_text())
    for of in ("similarity", "dice"):
        assert summary[of]["before"] < summary[of]["affine"] + 0.05 < summary[of]["after"]
    assert summary["dice"]["after"] > 0.7
    assert summary["deformation"]["folding_percent"] < 0.05

    read = sitk.ReadImage
    field = read(str(output / "warp.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    theirs = sitk.Resample(
        read(str(moving), sitk.sitkFloat32), read(str(fixed)), transform, sitk.sitkLinear, 0.0
    )
    theirs = sitk.GetArrayFromImage(theirs)
    ours = sitk.GetArrayFromImage(read(str(output / "warped.nii.gz")))
    assert np.abs(ours - theirs).max() < 1e-4 * np.ptp(theirs)
