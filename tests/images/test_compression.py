"""What is written compressed is what NiBabel writes, byte for byte, once inflated."""

import gzip

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension, Nifti1Image

from drivenmorph_jax.images.compression import write_nifti


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_bytes_are_nibabels(dtype, ending, tmp_path):
    data = (np.arange(4 * 5 * 6) % 17).reshape(4, 5, 6).astype(dtype)
    image = Nifti1Image(data, np.diag([1.0, 2, 3, 1]))
    image.header.extensions.append(Nifti1Extension("comment", b"said of it"))
    path = tmp_path / f"a{ending}"
    write_nifti(image, path)
    content = path.read_bytes()
    assert (gzip.decompress(content) if ending == ".nii.gz" else content) == image.to_bytes()


def test_floats_take_no_more_room_than_by_a_search_for_repetitions(tmp_path):
    rng = np.random.default_rng(0)
    data = np.zeros((24, 24, 24), np.float32)
    data[4:20, 4:20, 4:20] = rng.normal(size=(16, 16, 16))
    image = Nifti1Image(data, np.eye(4))
    write_nifti(image, tmp_path / "a.nii.gz")
    size = (tmp_path / "a.nii.gz").stat().st_size
    assert size < 1.02 * len(gzip.compress(image.to_bytes(), 6))
    assert size < 0.5 * data.nbytes
