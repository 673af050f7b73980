"""Reading subjects: every file kind gives the same brain, and what cannot be used is named."""

import pathlib
import pickle

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.data import SubjectFile, list_subjects, phantom_subject
from drivenmorph_jax.data.pickled import read_pickled
from drivenmorph_jax.data.reading import read_image, read_subject
from drivenmorph_jax.errors import InputError

SHAPE = (16, 18, 16)
AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])


def write(path: pathlib.Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> pathlib.Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def subject():
    return phantom_subject(0, SHAPE)


@pytest.fixture
def files(tmp_path, subject):
    image = write(tmp_path / "a.nii.gz", subject.image)
    return SubjectFile("a", image, write(tmp_path / "seg.nii.gz", subject.labels.astype(np.uint8)))


def test_nifti(files, subject):
    image, labels = read_subject(files)
    np.testing.assert_array_equal(image.data, subject.image)
    assert labels is not None and labels.data.dtype == np.int32
    np.testing.assert_array_equal(labels.data, subject.labels)


def test_axes_become_right_anterior_superior(tmp_path, subject):
    affine = np.array([[0, 0, -8.0, 0], [8.0, 0, 0, 0], [0, 8.0, 0, 0], [0, 0, 0, 1]])
    turned = np.transpose(subject.image[::-1], (1, 2, 0))
    image = read_image(write(tmp_path / "a.nii.gz", turned, affine))
    np.testing.assert_array_equal(image.data, subject.image)


@pytest.mark.parametrize("name", ["lpba40", "transmorph_ixi"])
def test_published_file_kinds(layout, name):
    for index, file in enumerate(list_subjects(layout(name)).training):
        image, labels = read_subject(file)
        expected = phantom_subject(index, SHAPE)
        assert labels is not None and expected.labels is not None
        # Analyze states no direction: nibabel takes the first axis as running to the left.
        flip = slice(None, None, -1 if name == "lpba40" else None)
        np.testing.assert_allclose(
            image.data / image.data.max(), expected.image[flip] / expected.image.max(), atol=1e-3
        )
        np.testing.assert_array_equal(labels.data, expected.labels[flip])


def test_nifti_without_orientation(tmp_path, subject, caplog):
    image = nib.Nifti1Image(subject.image, None)
    path = tmp_path / "a.nii.gz"
    nib.save(image, path)
    assert read_image(path).shape == SHAPE
    assert "no orientation" in caplog.text


def test_whole_head_is_refused(tmp_path):
    noise = np.random.default_rng(0).random(SHAPE, np.float32) + 0.1
    with pytest.raises(InputError, match="extract the brain"):
        read_subject(SubjectFile("a", write(tmp_path / "a.nii.gz", noise)))


def test_a_brain_scaled_to_mean_0_is_refused(tmp_path, subject):
    brain = subject.image != 0
    scaled = np.where(brain, subject.image - subject.image[brain].mean(), 0)
    path = write(tmp_path / "a.nii.gz", scaled.astype(np.float32))
    with pytest.raises(InputError, match=r"a\.nii\.gz: \d+% of its brain is below 0"):
        read_subject(SubjectFile("a", path, None))


def test_labels_on_another_grid_are_refused(tmp_path, files, subject):
    short = write(tmp_path / "short.nii.gz", subject.labels[1:].astype(np.uint8))
    with pytest.raises(InputError, match="shape"):
        read_subject(files._replace(labels_path=short))
    moved = AFFINE.copy()
    moved[1, 3] = 3
    other = write(tmp_path / "moved.nii.gz", subject.labels.astype(np.uint8), moved)
    with pytest.raises(InputError, match="3 mm off"):
        read_subject(files._replace(labels_path=other))
    negative = write(tmp_path / "negative.nii.gz", subject.labels.astype(np.int16) - 1)
    with pytest.raises(InputError, match="negative"):
        read_subject(files._replace(labels_path=negative))


def test_analyze_without_its_header(layout):
    file = list_subjects(layout("lpba40")).training[0]
    file.image_path.with_suffix(".hdr").unlink()
    with pytest.raises(InputError, match="beside it"):
        read_subject(file)


class Malicious:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("ran"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps((Malicious(), 1)), "not only arrays"),
        (b"damaged", "not a usable pickle"),
        (pickle.dumps([np.zeros((2, 2, 2))]), "does not hold"),
        (pickle.dumps((np.zeros((2, 2, 2)), np.zeros((2, 2)))), "two 3-D"),
    ],
)
def test_bad_pickles(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_pickled(path)
    assert not (tmp_path / "ran").exists()
