"""Data: layouts of data sets, phantoms, preparation on a common grid, the loader of pairs.

Each name is imported from its module when first used: phantoms need none of the packages that read
files.
"""

from typing import TYPE_CHECKING

from drivenmorph_jax.lazy import lazy_names

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
__getattr__, __dir__, __all__ = lazy_names(__name__, _MODULES)  # pyright: ignore[reportUnsupportedDunderAll]
