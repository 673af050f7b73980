"""Where the pairs come from and how they reach a common grid: the `data` section of a config."""

from dataclasses import dataclass
from typing import Literal

from drivenmorph_jax.errors import InputError

Format = Literal["phantom", "folder", "pairs_csv", "learn2reg", "ixi", "lpba40", "mindboggle"]


@dataclass(frozen=True)
class DataConfig:
    """Data of a run.

    Attributes:
      format: layout of the data; "phantom" needs none.
        "folder": `NAME_t1.nii.gz` with `NAME_seg.nii.gz`, in `train/` and `val/` or flat;
        "pairs_csv": columns fixed, moving[, fixed_labels, moving_labels], relative to the file;
        "learn2reg": the folder of a Learn2Reg task, with its dataset JSON, or that JSON;
        "ixi": raw IXI names, or the `.pkl` files distributed with TransMorph;
        "lpba40": the LPBA40 delineation space; "mindboggle": the Mindboggle-101 volumes.
      path: the folder or file.
      validation_path: second folder or CSV, to validate on (formats "folder" and "pairs_csv").
      validation: names of the validation subjects, as shell patterns ("S3[1-9]", "MMRR-21-*"),
        where the layout itself does not say.
      validation_fraction: share of the subjects to validate on where neither says.
      evaluation_split: which published split to validate on, where there are two.
      space: of Mindboggle-101, native images or those in MNI152.
      label_files: ending of the label maps' names, where a folder has several of each subject
        (format "folder"); a `labels.tsv` beside the data is that of "seg".
      holdout: training subjects kept out of training for the evaluation during training.
      labels: label table: a `.tsv` of (label, name), or "freesurfer", "learn2reg_oasis",
        "dkt31", "lpba40"; null: that of the format, or a `labels.tsv` beside the data.
      label_maps: folder of further label maps, FreeSurfer's numbers, without images, to train on
        with `training.synthesis`; never held out.
      prealign: align each subject to the reference (affine) once; false: header geometry only.
      reference: image that defines the common grid; null: the first training subject.
      shape: voxels of the common grid, axes right, anterior, superior.
      spacing: mm of the common grid; null: the reference's own.
      cache: folder for prepared subjects; null: a folder in the user's cache.
      prepared: folder that `train.py --prepare` wrote: subjects, validation split, pairs and label
        table are its own, and no other file is looked for (a damaged one of its own stops the
        start); null: they are read from files.
      in_memory: hold all subjects in memory; false: read them from the cache when needed.
      flip: probability of a left-right flip of a training pair.
      threads: host threads that prepare batches.
      read_ahead: batches prepared ahead of the device.
      on_bad_image: what a training subject does whose file is missing, damaged or unusable:
        "stop" ends the run, "skip" leaves out its pairs, and counts it. The subjects that are
        reported, and an explicit reference, always stop.
      seed: of the split and of the phantoms (the order of pairs is drawn from the run's own).
      phantom_training: phantom pairs to train on.
      phantom_validation: phantom pairs to validate on.
      phantom_deformation: size of the phantoms' deformation; 1 moves tissue by about 3 % of
        the box on average, 10 % at most.
    """

    format: Format = "phantom"
    path: str | None = None
    validation_path: str | None = None
    validation: tuple[str, ...] = ()
    validation_fraction: float = 0.2
    evaluation_split: Literal["val", "test"] = "val"
    space: Literal["native", "mni152"] = "native"
    label_files: str = "seg"
    holdout: int = 6
    labels: str | None = None
    label_maps: str | None = None
    prealign: bool = True
    reference: str | None = None
    shape: tuple[int, int, int] = (48, 56, 48)
    spacing: tuple[float, float, float] | None = None
    cache: str | None = None
    prepared: str | None = None
    in_memory: bool = True
    flip: float = 0.5
    threads: int = 2
    read_ahead: int = 4
    on_bad_image: Literal["stop", "skip"] = "stop"
    seed: int = 0
    phantom_training: int = 40
    phantom_validation: int = 8
    phantom_deformation: float = 1.0

    def __post_init__(self) -> None:
        least = {"holdout": 0, "threads": 0, "read_ahead": 0, "seed": 0}
        for name, value in (least | {"phantom_training": 1, "phantom_validation": 1}).items():
            if getattr(self, name) < value:
                raise InputError(f"data.{name} is {getattr(self, name)}: at least {value}")
        for name in ("flip", "validation_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"data.{name} is {getattr(self, name)}: a share, from 0 to 1")
        if min(self.shape) < 8:
            raise InputError(f"data.shape is {list(self.shape)}: at least 8 voxels an axis")
        if self.spacing is not None and min(self.spacing) <= 0:
            raise InputError(f"data.spacing is {list(self.spacing)}: mm above 0")
