"""Files appear whole or not at all: written under a temporary name, then renamed."""

import contextlib
import os
import pathlib
from collections.abc import Callable

from drivenmorph_jax.errors import InputError


def write_atomically(path: str | os.PathLike, write: Callable[[pathlib.Path], object]) -> None:
    """Call `write` with a temporary path in the folder of `path`, then rename it to `path`.

    The temporary name keeps the ending, by which writers choose their format.

    Raises:
        InputError: the folder is missing, not writable or full; nothing is left behind.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {path}: {reason}: choose another place") from error
    finally:
        # Where the folder is a file, there is nothing to remove either.
        with contextlib.suppress(OSError):
            temporary.unlink()
