"""From a `DataConfig` to the listing of its subjects; one function per layout."""

from collections.abc import Callable

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.folder import list_folder
from drivenmorph_jax.data.ixi import list_ixi
from drivenmorph_jax.data.learn2reg import list_learn2reg
from drivenmorph_jax.data.listing import Listing
from drivenmorph_jax.data.lpba40 import list_lpba40
from drivenmorph_jax.data.mindboggle import list_mindboggle
from drivenmorph_jax.data.pairs_csv import list_pairs_csv
from drivenmorph_jax.errors import InputError

_LAYOUTS: dict[str, Callable[[DataConfig], Listing]] = {
    "folder": list_folder,
    "pairs_csv": list_pairs_csv,
    "learn2reg": list_learn2reg,
    "ixi": list_ixi,
    "lpba40": list_lpba40,
    "mindboggle": list_mindboggle,
}


def list_subjects(cfg: DataConfig) -> Listing:
    """The subjects of a data set on disk.

    Raises:
      InputError: the path is missing or is not of the configured layout.
    """
    if cfg.format not in _LAYOUTS:
        raise InputError(f"data.format {cfg.format!r} has no files to list")
    return _LAYOUTS[cfg.format](cfg)
