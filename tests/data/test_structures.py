"""Examples of named structures: from a folder of images to one file and back."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.structure_reading import gather_structures
from drivenmorph_jax.data.structures import load_structures, save_structures
from drivenmorph_jax.errors import InputError

SPACING = (2.0, 2.0, 2.0)


@pytest.fixture
def cfg(tmp_path):
    """Four subjects, each a brain of 10 at the left, 20 at the right and 30 between."""
    for name in ("train/a", "train/b", "train/c", "val/d"):
        folder = (tmp_path / "data" / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        labels = np.zeros((10, 12, 9), np.uint8)
        labels[2:5, 3:9, 1:7], labels[5:8, 3:9, 1:7], labels[4:6, 5:7, 3:5] = 10, 20, 30
        image = np.where(labels > 0, 100 + labels, 0).astype(np.uint8)
        # Stored right to left: axes are to be turned.
        affine = np.diag([-2.0, 2.0, 2.0, 1.0])
        nib.save(nib.Nifti1Image(image[::-1], affine), folder / f"{name[-1]}_t1.nii.gz")
        nib.save(nib.Nifti1Image(labels[::-1], affine), folder / f"{name[-1]}_seg.nii.gz")
    table = tmp_path / "labels.tsv"
    table.write_text("label\tname\n10\tLeft-X\n20\tRight-X\n30\tStem\n")
    return DataConfig(
        format="folder",
        path=str(tmp_path / "data"),
        labels=str(table),
        shape=(8, 10, 8),
        spacing=SPACING,
        holdout=1,
    )


def test_sides_share_their_structure_and_brains_lie_in_the_middle(cfg):
    found = gather_structures(cfg)
    assert found.names == ("X", "Stem")
    assert found.images.shape == (2, 8, 10, 8) and found.held_images.shape == (1, 8, 10, 8)
    structures = found.structures[0]
    assert [(structures == value).sum() for value in (0, 1, 2)] == [640 - 216, 216 - 8, 8]
    inside = np.argwhere(structures > 0)
    np.testing.assert_array_equal(inside.min(0), (1, 2, 1))
    np.testing.assert_array_equal(inside.max(0), (6, 7, 6))
    # Left comes first along an axis to the right.
    image = found.images[0]
    np.testing.assert_array_equal(image[1:3, 2, 1], 110)
    np.testing.assert_array_equal(image[4:7, 2, 1], 120)
    np.testing.assert_array_equal((image > 0), structures > 0)


def test_what_is_saved_is_loaded(cfg, tmp_path):
    examples = gather_structures(cfg)
    save_structures(tmp_path / "e.npz", examples)
    found = load_structures(tmp_path / "e.npz")
    assert found.names == examples.names
    for one, other in zip(found[:4], examples[:4], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spacing": (1.0, 1.0, 1.0)}, "has voxels of .* examples are not resampled"),
        ({"holdout": 0}, "data.holdout is 0"),
    ],
)
def test_data_that_cannot_be_used_is_refused(cfg, changes, said):
    with pytest.raises(InputError, match=said):
        gather_structures(dataclasses.replace(cfg, **changes))


def test_images_that_cannot_be_used_are_refused(cfg, tmp_path):
    folder = tmp_path / "data" / "train"
    image = nib.load(folder / "a_t1.nii.gz")
    bright = 1000.0 * np.asarray(image.dataobj)
    long = np.asarray(image.dataobj).copy()
    long[:, 3:9, 1:7] = 100
    for data, said in (
        (0 * bright, "every voxel is 0"),
        (bright, "intensities above 65504"),
        (long, r"has \[10, 6, 6\] voxels, data.shape is \[8, 10, 8\]"),
    ):
        nib.save(nib.Nifti1Image(data.astype(np.float32), image.affine), folder / "a_t1.nii.gz")
        with pytest.raises(InputError, match=said):
            gather_structures(cfg)
    nib.save(image, folder / "a_t1.nii.gz")
    (folder / "a_seg.nii.gz").unlink()
    with pytest.raises(InputError, match=r"a_t1.nii.gz has no labels"):
        gather_structures(cfg)


def test_files_that_hold_no_examples_are_refused(tmp_path, cfg):
    with pytest.raises(InputError, match="no examples at"):
        load_structures(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no examples"):
        load_structures(tmp_path / "bad.npz")
    save_structures(tmp_path / "cut.npz", gather_structures(cfg))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="holds no examples"):
        load_structures(tmp_path / "cut.npz")
    with pytest.raises(InputError, match="cannot write"):
        save_structures(tmp_path / "no" / "e.npz", gather_structures(cfg))
