"""Every layout is found as published, and a folder that is not one is refused in a line."""

import dataclasses
import json

import pytest

from drivenmorph_jax.data import DataConfig, list_subjects
from drivenmorph_jax.errors import InputError

FORMATS = ["folder", "pairs_csv", "learn2reg", "ixi", "lpba40", "mindboggle"]
EXPECTED = {
    "folder": (4, 2, "case0", True),
    "pairs_csv": (4, 2, "images/p0.nii.gz", True),
    "learn2reg": (3, 3, "OASIS_0001_0000", True),
    "ixi": (4, 2, "IXI000-Guys-0800", False),
    "transmorph_ixi": (3, 3, "subject_0", True),
    "lpba40": (4, 2, "S01", True),
    "mindboggle": (4, 2, "OASIS-TRT-20-1", True),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_layout_is_found(layout, name):
    training, validation, first, labelled = EXPECTED[name]
    listing = list_subjects(layout(name))
    assert (len(listing.training), len(listing.validation)) == (training, validation)
    assert listing.training[0].name == first
    everyone = (*listing.training, *listing.validation)
    assert len({file.name for file in everyone}) == len(everyone)
    for file in everyone:
        assert file.image_path.is_file()
        assert (file.labels_path is not None) == labelled
        assert file.labels_path is None or file.labels_path.is_file()


@pytest.mark.parametrize("name", FORMATS)
def test_wrong_places_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    for path in (None, str(tmp_path / "nowhere"), str(tmp_path / "empty")):
        with pytest.raises(InputError, match=r"data\.") as caught:
            list_subjects(DataConfig(format=name, path=path))
        assert "\n" not in str(caught.value)


def test_learn2reg_keeps_reported_subjects_out_of_training(layout):
    cfg = layout("learn2reg")
    listing = list_subjects(cfg)
    assert listing.validation_pairs == (
        ("OASIS_0004_0000", "OASIS_0005_0000"),
        ("OASIS_0005_0000", "OASIS_0006_0000"),
    )
    assert listing.labels == "learn2reg_oasis"
    again = list_subjects(dataclasses.replace(cfg, path=f"{cfg.path}/OASIS_dataset.json"))
    assert again == listing
    with pytest.raises(InputError, match="evaluation_split"):
        list_subjects(dataclasses.replace(cfg, evaluation_split="test"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON"),
        (json.dumps([1]), "no list 'training'"),
        (json.dumps({"training": [{}], "registration_val": [{}]}), "no 'fixed'"),
        (
            json.dumps({"training": [{}], "registration_val": [{"fixed": "a", "moving": "b"}]}),
            "no 'image'",
        ),
        (
            json.dumps(
                {
                    "training": [{"image": "./imagesTr/x.nii.gz"}],
                    "registration_val": [{"fixed": "a", "moving": "b"}],
                }
            ),
            "unpack the whole",
        ),
    ],
)
def test_bad_learn2reg_json(tmp_path, content, message):
    (tmp_path / "OASIS_dataset.json").write_text(content)
    with pytest.raises(InputError, match=message):
        list_subjects(DataConfig(format="learn2reg", path=str(tmp_path)))


def test_transmorph_pairs_every_subject_with_the_atlas(layout):
    listing = list_subjects(layout("transmorph_ixi"))
    assert listing.validation_pairs == (("subject_3", "atlas"), ("subject_4", "atlas"))


def test_ixi_prefers_extracted_brains(layout):
    cfg = layout("ixi")
    before = list_subjects(cfg)
    for file in (*before.training, *before.validation):
        brain = file.image_path.name.replace("-T1", "-T1_brain")
        file.image_path.with_name(brain).write_bytes(file.image_path.read_bytes())
    after = list_subjects(cfg)
    assert [f.name for f in after.training] == [f.name for f in before.training]
    assert all("_brain" in f.image_path.name for f in after.training)


def test_mindboggle_spaces(layout):
    cfg = dataclasses.replace(layout("mindboggle"), space="mni152")
    for file in list_subjects(cfg).training:
        assert "MNI152" in file.image_path.name
        assert file.labels_path is not None and "MNI152" in file.labels_path.name


def test_folder_divides_a_flat_one_by_fraction(layout):
    cfg = layout("folder")
    flat = dataclasses.replace(cfg, path=f"{cfg.path}/train", validation_fraction=0.5)
    listing = list_subjects(flat)
    assert (len(listing.training), len(listing.validation)) == (2, 2)
    other = dataclasses.replace(cfg, path=f"{cfg.path}/train", validation_path=f"{cfg.path}/val")
    assert [f.name for f in list_subjects(other).validation] == ["case4", "case5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fixed\na\n", "columns"),
        ("fixed,moving\n", "no pairs"),
        ("fixed,moving\nimages/p0.nii.gz,images/p1.nii.gz,more\n", "line 2: has 3 cells"),
        ("fixed,moving\nimages/p0.nii.gz,images/p9.nii.gz\n", "line 2: no file"),
        ("fixed,moving\nimages/p0.nii.gz,images/p0.nii.gz\n", "same image"),
        (
            (
                "fixed,moving,fixed_labels,moving_labels\n"
                "images/p0.nii.gz,images/p1.nii.gz,labels/p0.nii.gz,\n"
                "images/p0.nii.gz,images/p1.nii.gz,labels/p1.nii.gz,\n"
            ),
            "other labels",
        ),
    ],
)
def test_bad_csv(layout, tmp_path, text, message):
    cfg = layout("pairs_csv")
    (tmp_path / "pairs_csv" / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        list_subjects(dataclasses.replace(cfg, path=str(tmp_path / "pairs_csv" / "bad.csv")))


def test_a_folder_with_two_label_maps_of_each_subject(tmp_path):
    for name in ("a", "b"):
        for ending in ("t1", "seg", "manual"):
            (tmp_path / f"{name}_{ending}.nii.gz").touch()
    (tmp_path / "labels.tsv").touch()
    cfg = DataConfig(format="folder", path=str(tmp_path), label_files="manual")
    listing = list_subjects(cfg)
    for file in (*listing.training, *listing.validation):
        assert file.labels_path == tmp_path / f"{file.name}_manual.nii.gz"
    # The table beside them is that of the other maps.
    assert listing.labels is None
    assert list_subjects(dataclasses.replace(cfg, label_files="seg")).labels is not None
