"""Files appear whole or not at all: written under a temporary name, then renamed."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Mapping

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
        raise _refusal(path, error) from error
    finally:
        _remove(temporary)


def write_all_or_none(
    writers: Mapping[pathlib.Path, Callable[[pathlib.Path], object]],
) -> None:
    """Several files, each by its writer: none has its name before all are written.

    Args:
        writers: by the file's place; called with another name in the same folder, of the same
            ending.

    Raises:
        InputError: as `write_atomically`, or by a writer.
    """
    staged = {path: path.with_name(f".{os.getpid()}.all.{path.name}") for path in writers}
    try:
        for path, temporary in staged.items():
            try:
                writers[path](temporary)
            except InputError as error:
                # By the name that the user gave.
                raise InputError(str(error).replace(str(temporary), str(path))) from error
            except OSError as error:
                raise _refusal(path, error) from error
        for path, temporary in staged.items():
            try:
                temporary.replace(path)
            except OSError as error:
                raise _refusal(path, error) from error
    finally:
        for temporary in staged.values():
            _remove(temporary)


def make_shared(path: pathlib.Path, mode: int) -> None:
    """Give what `tempfile` made, which is its owner's alone, the mode that others would have."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(mode & ~mask)


def _refusal(path: pathlib.Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"cannot write {path}: {reason}: choose another place")


def _remove(path: pathlib.Path) -> None:
    # Where the folder is a file, there is nothing to remove either.
    with contextlib.suppress(OSError):
        path.unlink()
