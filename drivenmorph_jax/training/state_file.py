"""A training state in one file, for machines of one process: no more than NumPy reads it."""

import os
import zipfile
from pathlib import Path

import jax
import numpy as np

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.state import TrainState


def save_state(path: Path, state: TrainState, training: str) -> None:
    """The state's numbers, in the order of its leaves, and the name of what it is a state of; the
    file appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    leaves = jax.device_get(jax.tree.leaves(state._replace(key=jax.random.key_data(state.key))))
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, *leaves, training=np.array(training))
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: Path, like: TrainState, training: str) -> TrainState:
    """The saved state.

    Args:
        path: written by `save_state`.
        like: a state of the same training.
        training: the name that it was saved with.

    Raises:
        InputError: the file is damaged, or of another training.
    """
    wanted, tree = jax.tree.flatten(like._replace(key=jax.random.key_data(like.key)))
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            saved = str(file["training"])
            leaves = [file[f"arr_{place}"] for place in range(len(file.files) - 1)]
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise InputError(f"state {path} is damaged: remove it to begin again") from None
    if saved != training or len(leaves) != len(wanted):
        raise InputError(f"state {path} is of another training: remove it to begin again")
    state = jax.tree.unflatten(tree, [jax.numpy.asarray(leaf) for leaf in leaves])
    return state._replace(key=jax.random.wrap_key_data(state.key))
