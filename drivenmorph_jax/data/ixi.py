"""IXI: the raw names of brain-development.org, or the `.pkl` files distributed with TransMorph."""

from pathlib import Path

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import (
    Listing,
    SubjectFile,
    existing,
    require_folder,
    require_subjects,
)
from drivenmorph_jax.data.published import divide
from drivenmorph_jax.errors import InputError

_RAW = "IXI (images such as IXI002-Guys-0828-T1.nii.gz, brain-extracted)"
_PICKLED = "IXI_data of TransMorph (Train/, Val/, Test/ of subject_N.pkl, atlas.pkl)"


def list_ixi(cfg: DataConfig) -> Listing:
    """Subjects of either layout.

    TransMorph's: training subjects of `Train/`, reported ones of `Val/` or `Test/` by
    `data.evaluation_split`, each the fixed image with the atlas moving where `atlas.pkl` is there.
    Raw: `*-T1_brain.nii.gz` where there are such (the published images show the whole head, and
    must be brain-extracted first), else `*-T1.nii.gz`; labels `*-T1_seg.nii.gz`, where given.
    """
    folder = require_folder(cfg.path, f"{_RAW} or {_PICKLED}")
    if (folder / "IXI_data").is_dir():
        folder = folder / "IXI_data"
    if (folder / "Train").is_dir():
        return _list_pickled(folder, cfg)
    for ending in ("-T1_brain.nii.gz", "-T1.nii.gz"):
        files = [
            _raw_subject(path, ending)
            for path in sorted({*folder.glob(f"IXI*{ending}"), *folder.glob(f"*/IXI*{ending}")})
        ]
        if files:
            break
    files = require_subjects(files, folder, f"{_RAW} or {_PICKLED}")
    return divide(files, cfg, labels="freesurfer")


def _raw_subject(path: Path, ending: str) -> SubjectFile:
    name = path.name.removesuffix(ending)
    return SubjectFile(name, path, existing(path.with_name(f"{name}-T1_seg.nii.gz")))


def _list_pickled(folder: Path, cfg: DataConfig) -> Listing:
    training = _scan_pickled(folder / "Train")
    reported = folder / cfg.evaluation_split.capitalize()
    if not reported.is_dir():
        raise InputError(f"no folder {reported}: set data.evaluation_split to the one there is")
    validation = _scan_pickled(reported)
    # The published archive spells it both ways.
    atlas = existing(folder / "atlas.pkl") or existing(folder / "altas.pkl")
    if atlas is None:
        return Listing(training, validation, labels="freesurfer")
    return Listing(
        training,
        (*validation, SubjectFile("atlas", atlas, atlas)),
        validation_pairs=tuple((file.name, "atlas") for file in validation),
        labels="freesurfer",
    )


def _scan_pickled(folder: Path) -> tuple[SubjectFile, ...]:
    files = [SubjectFile(path.stem, path, path) for path in folder.glob("*.pkl")]
    return require_subjects(files, folder, _PICKLED)
