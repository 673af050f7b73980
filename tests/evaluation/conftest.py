"""Small phantoms to evaluate on, and the benchmark scripts' modules."""

import pathlib
import sys

import numpy as np
import pytest

from drivenmorph_jax.data import DataConfig, load_validation

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture(scope="session")
def phantoms():
    """Three pairs of phantoms with labels and true displacements, 2 mm apart."""
    data = load_validation(DataConfig(shape=(20, 24, 20), phantom_validation=3))
    return data._replace(affine=np.diag([2.0, 2.0, 2.0, 1.0]))
