"""Vector images in files."""

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.pipeline.force_fields import FORCE_UNITS, STEP_UNITS
from drivenmorph_jax.pipeline.vector_image import write_vectors
from tests.images.geometries import affine
from tests.pipeline.canned import smooth

SHAPE = (9, 8, 7)
GEOMETRY = affine((2, 1.5, 3), signs=(-1, 1, 1), degrees=(10, 5, -20), shape=SHAPE)


def test_the_header_says_what_it_is(tmp_path):
    vectors = smooth(SHAPE, 3.0, seed=0)
    path = tmp_path / "force.nii.gz"
    write_vectors(path, vectors, GEOMETRY, name="driving force", description=FORCE_UNITS)
    image = nib.load(path)
    assert image.shape == (*SHAPE, 1, 3)
    assert int(image.header["intent_code"]) == 1007
    assert image.header["descrip"].item().decode() == FORCE_UNITS
    assert image.header["intent_name"].item() == b"driving force"
    np.testing.assert_allclose(image.affine, GEOMETRY, atol=1e-5)
    np.testing.assert_array_equal(image.get_fdata()[:, :, :, 0] * [-1, -1, 1], vectors)


def test_the_units_have_room():
    for text in (FORCE_UNITS, STEP_UNITS):
        assert len(text) <= 79 and "mm" in text and "LPS" in text


def test_what_cannot_be_written_is_not(tmp_path):
    vectors = smooth(SHAPE, 3.0, seed=0)
    with pytest.raises(ValueError, match="no room"):
        write_vectors(tmp_path / "a.nii", vectors, GEOMETRY, name="x", description="y" * 80)
    vectors[1, 2, 3, 0] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        write_vectors(tmp_path / "a.nii", vectors, GEOMETRY, name="x", description="y")
    assert not list(tmp_path.iterdir())


@pytest.mark.tools
def test_simpleitk_reads_vectors(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    vectors = smooth(SHAPE, 3.0, seed=0)
    path = tmp_path / "step.nii.gz"
    write_vectors(path, vectors, GEOMETRY, name="Demons step", description=STEP_UNITS)
    image = sitk.ReadImage(str(path))
    assert image.GetNumberOfComponentsPerPixel() == 3
    assert image.GetSize() == SHAPE
    found = sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3)
    np.testing.assert_allclose(found * [-1, -1, 1], vectors, atol=1e-6)
