"""The replay agrees with what is right, and with nothing that is wrong."""

import ast
import inspect

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.images import save_volume, write_itk_displacement
from drivenmorph_jax.pipeline import replay
from drivenmorph_jax.pipeline.replay import replay_mismatch
from tests.pipeline.canned import canned

PAIRS = [("plain", "oblique"), ("oblique", "thick"), ("thick", "permuted")]


def write(folder, made, displacement=None, affine=None):
    paths = folder / "warp.nii.gz", folder / "warped.nii.gz"
    field = made.registered.displacement if displacement is None else displacement
    write_itk_displacement(paths[0], field, made.fixed.affine if affine is None else affine)
    save_volume(paths[1], made.registered.warped)
    return (*paths, made.moving.data, made.moving.affine)


@pytest.mark.parametrize(("fixed", "moving"), PAIRS)
def test_a_right_warp_gives_the_same_image(fixed, moving, tmp_path):
    assert replay_mismatch(*write(tmp_path, canned(fixed, moving))) < 1e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_vector_with_another_sign_is_noticed(axis, tmp_path):
    made = canned("plain", "oblique")
    wrong = made.registered.displacement.copy()
    wrong[..., axis] *= -1
    assert replay_mismatch(*write(tmp_path, made, wrong)) > 0.05


def test_swapped_axes_and_another_header_are_noticed(tmp_path):
    made = canned("plain", "oblique")
    assert (
        replay_mismatch(*write(tmp_path, made, made.registered.displacement[..., [1, 0, 2]])) > 0.05
    )
    shifted = made.fixed.affine.copy()
    shifted[0, 3] += 1
    assert replay_mismatch(*write(tmp_path, made, affine=shifted)) > 0.05


def test_a_file_of_another_shape_or_a_nan_never_passes(tmp_path):
    made = canned("plain", "oblique")
    warp, warped, *moving = write(tmp_path, made)
    image = nib.load(warped)
    data = image.get_fdata()
    data[20, 20, 20] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine), warped)
    assert replay_mismatch(warp, warped, *moving) == float("inf")
    nib.save(nib.Nifti1Image(data[:-1], image.affine), warped)
    assert replay_mismatch(warp, warped, *moving) == float("inf")


def test_it_shares_no_code_with_the_library():
    tree = ast.parse(inspect.getsource(replay))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {"pathlib", "nibabel", "numpy", "scipy"}
