"""Mindboggle-101 volumes: `OASIS-TRT-20_volumes/OASIS-TRT-20-1/t1weighted_brain.nii.gz` …"""

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.listing import (
    Listing,
    SubjectFile,
    existing,
    require_folder,
    require_subjects,
)
from drivenmorph_jax.data.published import divide

_LAYOUT = (
    "Mindboggle-101 (OASIS-TRT-20_volumes/OASIS-TRT-20-1/t1weighted_brain.nii.gz with "
    "labels.DKT31.manual.nii.gz)"
)


def list_mindboggle(cfg: DataConfig) -> Listing:
    """The subjects of every cohort below `data.path`, in native space or in MNI152.

    Some are people of OASIS too: a model trained on OASIS is not to be scored on those.
    """
    folder = require_folder(cfg.path, _LAYOUT)
    space = ".MNI152" if cfg.space == "mni152" else ""
    image = f"t1weighted_brain{space}.nii.gz"
    files = []
    for pattern in (f"*_volumes/*/{image}", f"*/*_volumes/*/{image}", f"*/{image}"):
        for path in folder.glob(pattern):
            labels = existing(path.with_name(f"labels.DKT31.manual{space}.nii.gz"))
            files.append(SubjectFile(path.parent.name, path, labels))
        if files:
            break
    return divide(require_subjects(files, folder, _LAYOUT), cfg, labels="dkt31")
