"""Images with named structures as plain arrays: what a network learns to name structures from.

They are the subjects' own voxels, not resampled, so that labels are as they were drawn; and they
lie in one file that needs NumPy alone, for machines that read no images.
"""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.writing import write_atomically


class StructureExamples(NamedTuple):
    """Subjects in their own voxels, the brain in the middle of a grid that all share.

    Attributes:
      images: (N, D, H, W), axes right, anterior, superior; background exactly 0.
      structures: (N, D, H, W), 1 for the first of `names` …; both sides of the brain share theirs.
      held_images, held_structures: of the subjects held out.
      names: of the structures.
    """

    images: Float[ndarray, "n d h w"]
    structures: UInt8[ndarray, "n d h w"]
    held_images: Float[ndarray, "m d h w"]
    held_structures: UInt8[ndarray, "m d h w"]
    names: tuple[str, ...]


def save_structures(path: Path, examples: StructureExamples) -> None:
    """Write them into one file, which appears whole or not at all.

    Raises:
      InputError: it cannot be written.
    """
    arrays = {**examples._asdict(), "names": np.array(examples.names)}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def load_structures(path: Path) -> StructureExamples:
    """Read what `save_structures` wrote.

    Raises:
      InputError: there is no such file, or it is another.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            arrays = {name: file[name] for name in StructureExamples._fields}
    except FileNotFoundError:
        raise InputError(f"no examples at {path}: make them with `examples`") from None
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} holds no examples: make them with `examples`") from None
    names = tuple(str(name) for name in arrays.pop("names"))
    return StructureExamples(**arrays, names=names)
