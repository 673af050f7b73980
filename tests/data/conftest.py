"""Small data sets on disk, in every layout that `data.format` names."""

import csv
import dataclasses
import gzip
import json
import pathlib
import pickle
from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.data import DataConfig, phantom_subject

SHAPE = (16, 18, 16)
GRID = (20, 22, 20)
SPACING = 8.0
COUNT = 6


def write_nifti(path: pathlib.Path, data: np.ndarray, spacing: float = SPACING) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * np.array(data.shape) / 2
    nib.save(nib.Nifti1Image(data, affine), path)


def write_analyze(path: pathlib.Path, data: np.ndarray) -> None:
    """`path` ends in .img or .img.gz; the header is beside it, uncompressed, as in LPBA40."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(path.name.removesuffix(".gz"))
    image = nib.AnalyzeImage(data[..., None], None)
    image.header.set_zooms((SPACING, SPACING, SPACING, 1.0))
    nib.save(image, plain)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()


def brain(index: int, *, labels: bool = False) -> np.ndarray:
    subject = phantom_subject(index, SHAPE)
    assert subject.labels is not None
    return subject.labels.astype(np.int16) if labels else subject.image


def make_folder(root: pathlib.Path) -> DataConfig:
    for index in range(COUNT):
        part = root / ("val" if index >= COUNT - 2 else "train")
        write_nifti(part / f"case{index}_t1.nii.gz", brain(index))
        write_nifti(part / f"case{index}_seg.nii.gz", brain(index, labels=True))
    return DataConfig(format="folder", path=str(root), labels="freesurfer")


def make_pairs_csv(root: pathlib.Path) -> DataConfig:
    for index in range(COUNT):
        write_nifti(root / f"images/p{index}.nii.gz", brain(index))
        write_nifti(root / f"labels/p{index}.nii.gz", brain(index, labels=True))
    for name, pairs in (("train", [(0, 1), (1, 2), (2, 3), (3, 0)]), ("val", [(4, 5)])):
        with (root / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["fixed", "moving", "fixed_labels", "moving_labels"])
            for pair in pairs:
                row = [f"{kind}/p{i}.nii.gz" for kind in ("images", "labels") for i in pair]
                writer.writerow(row)
    return DataConfig(
        format="pairs_csv",
        path=str(root / "train.csv"),
        validation_path=str(root / "val.csv"),
        labels="freesurfer",
    )


def make_learn2reg(root: pathlib.Path) -> DataConfig:
    names = [f"OASIS_{index + 1:04d}_0000.nii.gz" for index in range(COUNT)]
    for index, name in enumerate(names):
        write_nifti(root / "imagesTr" / name, brain(index))
        write_nifti(root / "labelsTr" / name, np.minimum(brain(index, labels=True), 35))
        write_nifti(root / "masksTr" / name, (brain(index) > 0).astype(np.uint8))
    images = [f"./imagesTr/{name}" for name in names]
    content = {
        "name": "OASIS",
        "training": [
            {
                "image": i,
                "label": i.replace("images", "labels"),
                "mask": i.replace("images", "masks"),
            }
            for i in images
        ],
        "registration_val": [
            {"fixed": images[3], "moving": images[4]},
            {"fixed": images[4], "moving": images[5]},
        ],
    }
    (root / "OASIS_dataset.json").write_text(json.dumps(content))
    return DataConfig(format="learn2reg", path=str(root), prealign=False)


def make_ixi(root: pathlib.Path) -> DataConfig:
    for index in range(COUNT):
        write_nifti(root / f"IXI{index:03d}-Guys-08{index:02d}-T1.nii.gz", brain(index))
    return DataConfig(format="ixi", path=str(root), validation=("IXI00[45]-*",))


def make_transmorph_ixi(root: pathlib.Path) -> DataConfig:
    names = [*(f"Train/subject_{i}" for i in range(3)), "Val/subject_3", "Val/subject_4", "atlas"]
    for index, name in enumerate(names):
        # Stored in the order left, inferior, anterior.
        parts = (brain(index), brain(index, labels=True))
        stored = tuple(np.transpose(part[::-1, :, ::-1], (0, 2, 1)) for part in parts)
        path = root / "IXI_data" / f"{name}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(stored))
    return DataConfig(format="ixi", path=str(root), prealign=False)


def make_lpba40(root: pathlib.Path) -> DataConfig:
    for index in range(COUNT):
        folder = root / "delineation_space" / f"S{index + 1:02d}"
        stem = f"{folder.name}.delineation"
        ending = ".img.gz" if index % 2 else ".img"
        image = (1000 * brain(index)).astype(np.int16)
        write_analyze(folder / f"{stem}.skullstripped{ending}", image)
        labels = brain(index, labels=True).astype(np.uint8)
        write_analyze(folder / f"{stem}.structure.label{ending}", labels)
    return DataConfig(format="lpba40", path=str(root), validation=("S0[56]",))


def make_mindboggle(root: pathlib.Path) -> DataConfig:
    for index in range(COUNT):
        cohort = "MMRR-21" if index >= COUNT - 2 else "OASIS-TRT-20"
        folder = root / f"{cohort}_volumes" / f"{cohort}-{index + 1}"
        for space in ("", ".MNI152"):
            write_nifti(folder / f"t1weighted_brain{space}.nii.gz", brain(index))
            labels = 1000 * (brain(index, labels=True) > 0) + brain(index, labels=True)
            write_nifti(folder / f"labels.DKT31.manual{space}.nii.gz", labels.astype(np.int16))
    return DataConfig(format="mindboggle", path=str(root), validation=("MMRR-21-*",))


LAYOUTS: dict[str, Callable[[pathlib.Path], DataConfig]] = {
    "folder": make_folder,
    "pairs_csv": make_pairs_csv,
    "learn2reg": make_learn2reg,
    "ixi": make_ixi,
    "transmorph_ixi": make_transmorph_ixi,
    "lpba40": make_lpba40,
    "mindboggle": make_mindboggle,
}


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Callable[[str], DataConfig]:
    """Makes the data set of a layout (a key of LAYOUTS) and gives its config."""

    def make(name: str) -> DataConfig:
        cfg = LAYOUTS[name](tmp_path / name)
        return dataclasses.replace(cfg, shape=GRID, holdout=0, cache=str(tmp_path / "cache"))

    return make
