"""A folder of `NAME_t1.nii.gz` with `NAME_seg.nii.gz`, flat or in `train/` and `val/`."""

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

_LAYOUT = "images NAME_t1.nii.gz with labels NAME_seg.nii.gz, flat or in train/ and val/"
_ENDING = "_t1.nii.gz"


def list_folder(cfg: DataConfig) -> Listing:
    """Training subjects of `train/` (or the folder itself), validation ones of `val/`.

    A `validation_path`, flat or with a `val/`, comes before the folder's own `val/`; with neither,
    the subjects are divided by `data.validation` or `data.validation_fraction`.
    """
    folder = require_folder(cfg.path, _LAYOUT)
    labels = _label_table_beside(folder) if cfg.label_files == "seg" else None
    if cfg.validation_path is None and not (folder / "val").is_dir():
        return divide(_scan(_part(folder, "train"), cfg), cfg, labels=labels)
    if cfg.validation_path is None:
        other = folder / "val"
    else:
        other = _part(require_folder(cfg.validation_path, _LAYOUT), "val")
    return Listing(_scan(_part(folder, "train"), cfg), _scan(other, cfg), labels=labels)


def _part(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).is_dir() else folder


def _scan(folder: Path, cfg: DataConfig) -> tuple[SubjectFile, ...]:
    files = []
    for path in folder.glob(f"*{_ENDING}"):
        name = path.name.removesuffix(_ENDING)
        labels = existing(folder / f"{name}_{cfg.label_files}.nii.gz")
        files.append(SubjectFile(name, path, labels))
    return require_subjects(files, folder, _LAYOUT)


def _label_table_beside(folder: Path) -> str | None:
    for place in (folder, folder.parent):
        if (place / "labels.tsv").is_file():
            return str(place / "labels.tsv")
    return None
