"""Label maps without images among the subjects to train on."""

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.config import parse_config
from drivenmorph_jax.data import load_training, phantom_subject
from drivenmorph_jax.data.label_maps import list_label_maps, read_label_map
from drivenmorph_jax.errors import InputError
from tests.data.conftest import make_folder


@pytest.fixture
def head(tmp_path):
    """A brain in fluid out to the skull, and a scalp numbered as SynthSeg does."""
    brain = phantom_subject(1, (24, 28, 24)).labels
    labels = np.full((40, 44, 40), 510, np.int16)
    labels[4:-4, 4:-4, 4:-4] = 24
    labels[8:32, 8:36, 8:32] = np.where(brain == 0, 24, brain)
    folder = tmp_path / "maps"
    folder.mkdir()
    affine = np.diag([-2.5, 2.5, 2.5, 1.0])
    affine[:3, 3] = 50, -55, -50
    nib.save(nib.Nifti1Image(labels, affine), folder / "head_01.nii.gz")
    return folder


def test_a_head_becomes_a_brain(head):
    (file,) = list_label_maps(str(head))
    assert file.name == "head_01" and file.image_path == file.labels_path
    image, labels = read_label_map(file.image_path)
    assert image.shape == labels.shape and (np.array(labels.shape) < (40, 44, 40)).all()
    assert set(np.unique(labels.data)) >= {0, 2, 3, 24, 41} - {0} and labels.data.max() <= 255
    assert not image.data[labels.data == 0].any()
    fluid = labels.data == 24
    assert 0 < (image.data[fluid] > 0).mean() < 0.9  # only that around the brain
    white, cortex = (image.data[labels.data == v].mean() for v in (2, 3))
    assert white > cortex > image.data[fluid].max()
    assert (np.diag(labels.affine)[:3] > 0).all()


def test_they_are_trained_on_and_never_held_out(head, tmp_path):
    cfg = make_folder(tmp_path / "data")
    changes = {"label_maps": str(head), "shape": (16, 18, 16), "holdout": 2, "prealign": False}
    cfg = type(cfg)(**{**cfg.__dict__, **changes, "cache": str(tmp_path / "cache")})
    training, held_out = load_training(cfg, progress=str)
    names = [subject.name for subject in training.subjects]
    assert names[-1] == "head_01" and len(names) == 3
    assert training.subjects[-1].labels is not None and 24 in training.subjects[-1].labels
    assert all(subject.name.startswith("case") for subject in held_out.subjects)


def test_what_cannot_be_used(head, tmp_path):
    with pytest.raises(InputError, match="no folder"):
        list_label_maps(str(tmp_path / "none"))
    nib.save(nib.Nifti1Image(np.full((9, 9, 9), 510, np.int16), np.eye(4)), head / "skull.nii.gz")
    with pytest.raises(InputError, match="no label of FreeSurfer's"):
        read_label_map(head / "skull.nii.gz")
    with pytest.raises(InputError, match="no images: set training"):
        parse_config(f"data: {{label_maps: {head}}}")
