"""Data: layouts of data sets, phantoms, preparation on a common grid, the loader of pairs."""

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.dataset import (
    EvaluationData,
    TrainingData,
    load_training,
    load_validation,
)
from drivenmorph_jax.data.labels import LabelTable, read_label_table
from drivenmorph_jax.data.listing import Listing, SubjectFile
from drivenmorph_jax.data.loader import PairLoader
from drivenmorph_jax.data.phantom import PhantomPair, phantom_pair, phantom_subject
from drivenmorph_jax.data.protocols import label_table
from drivenmorph_jax.data.sources import list_subjects
from drivenmorph_jax.data.split import cyclic_pairs
from drivenmorph_jax.data.subject import NativeLabels, Subject

__all__ = [
    "DataConfig",
    "EvaluationData",
    "LabelTable",
    "Listing",
    "NativeLabels",
    "PairLoader",
    "PhantomPair",
    "Subject",
    "SubjectFile",
    "TrainingData",
    "cyclic_pairs",
    "label_table",
    "list_subjects",
    "load_training",
    "load_validation",
    "phantom_pair",
    "phantom_subject",
    "read_label_table",
]
