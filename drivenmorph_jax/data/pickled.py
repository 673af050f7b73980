"""The `.pkl` files of the IXI data distributed with TransMorph: a tuple (image, labels)."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume

# FreeSurfer's conformed order: left, inferior, anterior, at 1 mm.
_LIA = np.array(
    [[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]],
)
_ARRAY_PARTS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}

# A damaged pickle raises whatever its garbled instructions lead to.
_DAMAGE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
)


class _ArraysOnly(pickle.Unpickler):
    """Builds NumPy arrays and nothing else: a pickle from the network may hold any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, not only arrays")
        return super().find_class(module, name)


def read_pickled(path: Path) -> tuple[Volume, Volume]:
    """Image and labels, in axes left, inferior, anterior at 1 mm (the files state none).

    Raises:
      InputError: not a pickle of two 3-D arrays of one shape.
    """
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file).load()
    except FileNotFoundError:
        raise InputError(f"no file {path}: check the path") from None
    except _DAMAGE as error:
        raise InputError(f"{path} is not a usable pickle: {error}") from None
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise InputError(f"{path} does not hold (image, labels)")
    image, labels = (np.squeeze(np.asarray(part)) for part in content)
    if image.ndim != 3 or image.shape != labels.shape:
        raise InputError(
            f"{path} holds shapes {image.shape} and {labels.shape}, not two 3-D arrays"
        )
    return Volume(image.astype(np.float32), _LIA), Volume(labels.astype(np.int32), _LIA)
