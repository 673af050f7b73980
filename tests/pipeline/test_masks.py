"""Brain masks: the way out for scans of whole heads; and those that are of no use."""

import re

import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, load_volume, save_volume
from drivenmorph_jax.pipeline.scans import read_scans
from tests.pipeline.brains import brain


def head(volume: Volume) -> Volume:
    """The same brain amid other tissue that fills the field of view."""
    other = np.random.default_rng(0).uniform(0.5, 1, volume.shape).astype(np.float32)
    return Volume(np.where(volume.data != 0, volume.data, other), volume.affine)


@pytest.fixture
def files(tmp_path):
    fixed, moving = brain("plain"), brain("oblique", other=True)
    paths = {}
    for role, volume in (("fixed", fixed), ("moving", moving)):
        paths |= {
            f"{role}_brain": (volume, volume.data),
            role: (head(volume), head(volume).data),
            f"{role}_mask": (volume, (volume.data != 0).astype(np.uint8) * 7),
        }
    for name, (volume, data) in paths.items():
        save_volume(tmp_path / f"{name}.nii.gz", Volume(data, volume.affine))
    return {name: tmp_path / f"{name}.nii.gz" for name in paths}


def test_a_head_within_its_mask_is_the_extracted_brain(files):
    masked = read_scans(
        files["fixed"],
        files["moving"],
        fixed_mask=files["fixed_mask"],
        moving_mask=files["moving_mask"],
    )
    for role in ("fixed", "moving"):
        expected = load_volume(files[f"{role}_brain"])
        np.testing.assert_array_equal(getattr(masked, role).data, expected.data)
        np.testing.assert_array_equal(getattr(masked, role).affine, expected.affine)


def test_without_one_the_error_names_it(files):
    with pytest.raises(InputError, match=r"extract the brain first.*--fixed-mask, --moving-mask"):
        read_scans(files["fixed_brain"], files["moving"])


def test_one_mask_alone_is_fine(files):
    scans = read_scans(files["fixed_brain"], files["moving"], moving_mask=files["moving_mask"])
    assert (scans.fixed.data != 0).any() and (scans.moving.data == 0).any()


def spoiled(kind: str) -> Volume:
    volume = brain("oblique", other=True)
    mask = (volume.data != 0).astype(np.int32)
    if kind == "other shape":
        return Volume(mask[:, 1:], volume.affine)
    if kind == "elsewhere":
        moved = volume.affine.copy()
        moved[1, 3] -= 7
        return Volume(mask, moved)
    if kind == "empty":
        return Volume(0 * mask, volume.affine)
    if kind == "covers nothing":
        return Volume(1 - mask, volume.affine)
    return Volume(mask.astype(np.float32) * 0.5, volume.affine)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("other shape", r"shape .* but the image has .* resample"),
        ("elsewhere", r"7 mm off the image: resample"),
        ("empty", r"is empty: give one"),
        ("covers nothing", r"covers nothing, .* give the mask of this image"),
        ("not whole numbers", r"not whole numbers"),
    ],
)
def test_useless_masks(kind, message, files, tmp_path):
    path = tmp_path / "useless.nii.gz"
    save_volume(path, spoiled(kind))
    with pytest.raises(InputError) as raised:
        read_scans(files["fixed_brain"], files["moving_brain"], moving_mask=path)
    line = str(raised.value)
    assert line.startswith(f"moving mask {path}") and re.search(message, line), line
    assert "\n" not in line


def test_a_mask_of_all_the_head_is_refused_as_the_head_is(files, tmp_path):
    volume = load_volume(files["moving"])
    path = tmp_path / "all.nii.gz"
    save_volume(path, Volume(np.ones(volume.shape, np.uint8), volume.affine))
    with pytest.raises(InputError, match=r"within its mask: 100% .* extract the brain"):
        read_scans(files["fixed_brain"], files["moving"], moving_mask=path)
