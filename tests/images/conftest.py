"""Tools that several tests of this folder apply."""

import numpy as np
import pytest


@pytest.fixture
def surfa(monkeypatch):
    """surfa, which (0.6.3) reads its header extension with a function that NumPy 2.3 removed."""
    module = pytest.importorskip("surfa")

    def read_bytes(file, dtype, count=1):
        values = np.frombuffer(file.read(np.dtype(dtype).itemsize * count), dtype=dtype)
        return values[0] if count == 1 else values

    monkeypatch.setattr(module.io.utils, "read_bytes", read_bytes)
    return module
