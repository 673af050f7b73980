"""Data: layouts of data sets, phantoms, preparation on a common grid, the loader of pairs.

Each name is imported from its module when first used: phantoms need none of the packages that read
files.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivenmorph_jax.data.config import DataConfig as DataConfig
    from drivenmorph_jax.data.dataset import EvaluationData as EvaluationData
    from drivenmorph_jax.data.dataset import TrainingData as TrainingData
    from drivenmorph_jax.data.dataset import load_training as load_training
    from drivenmorph_jax.data.dataset import load_validation as load_validation
    from drivenmorph_jax.data.labels import LabelTable as LabelTable
    from drivenmorph_jax.data.labels import read_label_table as read_label_table
    from drivenmorph_jax.data.listing import Listing as Listing
    from drivenmorph_jax.data.listing import SubjectFile as SubjectFile
    from drivenmorph_jax.data.loader import PairLoader as PairLoader
    from drivenmorph_jax.data.phantom import PhantomPair as PhantomPair
    from drivenmorph_jax.data.phantom import phantom_pair as phantom_pair
    from drivenmorph_jax.data.phantom import phantom_subject as phantom_subject
    from drivenmorph_jax.data.protocols import label_table as label_table
    from drivenmorph_jax.data.sources import list_subjects as list_subjects
    from drivenmorph_jax.data.split import cyclic_pairs as cyclic_pairs
    from drivenmorph_jax.data.subject import NativeLabels as NativeLabels
    from drivenmorph_jax.data.subject import Subject as Subject

_MODULES = {
    "config": ("DataConfig",),
    "dataset": ("EvaluationData", "TrainingData", "load_training", "load_validation"),
    "labels": ("LabelTable", "read_label_table"),
    "listing": ("Listing", "SubjectFile"),
    "loader": ("PairLoader",),
    "phantom": ("PhantomPair", "phantom_pair", "phantom_subject"),
    "protocols": ("label_table",),
    "sources": ("list_subjects",),
    "split": ("cyclic_pairs",),
    "subject": ("NativeLabels", "Subject"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
