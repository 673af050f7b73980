"""LPBA40, its delineation space: `S01/S01.delineation.skullstripped` and `….structure.label`."""

from pathlib import Path

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import Listing, SubjectFile, require_folder, require_subjects
from drivenmorph_jax.data.published import divide

_LAYOUT = "LPBA40 (delineation_space/S01/S01.delineation.skullstripped.img, .hdr)"
_ENDINGS = (".nii.gz", ".nii", ".img", ".img.gz")


def list_lpba40(cfg: DataConfig) -> Listing:
    """The 40 subjects, as published (Analyze, also with `.img.gz`) or converted to NIfTI.

    `data.path` is the folder that holds `delineation_space/`, that folder, or a flat one.
    """
    folder = require_folder(cfg.path, _LAYOUT)
    places = [folder / "delineation_space" / "S*", folder / "S*", folder]
    files = {}
    for place in places:
        for path in sorted(place.parent.glob(f"{place.name}/S*.delineation.skullstripped.*")):
            name = path.name.split(".")[0]
            image = _volume(path.parent, f"{name}.delineation.skullstripped")
            labels = _volume(path.parent, f"{name}.delineation.structure.label")
            if image is not None:
                files[name] = SubjectFile(name, image, labels)
        if files:
            break
    return divide(require_subjects(files.values(), folder, _LAYOUT), cfg, labels="lpba40")


def _volume(folder: Path, stem: str) -> Path | None:
    for ending in _ENDINGS:
        if (folder / f"{stem}{ending}").is_file():
            return folder / f"{stem}{ending}"
    return None
