"""A folder of results that appears whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.writing import make_shared

_PREFIX = ".drivenmorph-"


@contextlib.contextmanager
def output_folder(
    output: str | os.PathLike[str], *, overwrite: bool, names: Sequence[str]
) -> Iterator[Path]:
    """Yield an empty folder to write into; what is in it becomes `output` if the block succeeds.

    A new folder appears by one rename, its parents made as needed. Into one that exists the files
    are moved one by one; with `overwrite` they replace those of the same names (a folder as a
    whole), results of an earlier run that this one does not have (`names`) are removed, and nothing
    else is touched.

    Args:
        output: the folder.
        overwrite: allow one that is not empty.
        names: every file, or folder of files, that a run may write.

    Raises:
        InputError: it is a file, not empty, or cannot be written; nothing is left behind.
    """
    output = user_path(output).absolute()
    exists = check_output(output, overwrite=overwrite)
    # On the file system of the output, so that a rename is all that is left to do.
    place = output if exists else next(path for path in output.parents if path.exists())
    try:
        staging = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    except OSError as error:
        raise InputError(_refusal(output, error)) from error
    try:
        try:
            yield staging
        except InputError as error:
            # Of the files that were to be the user's, by the names that they were to have.
            raise InputError(str(error).replace(str(staging), str(output))) from error
        try:
            if exists:
                _move_into(staging, output, names)
            else:
                _become(staging, output)
        except OSError as error:
            raise InputError(_refusal(output, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_output(output: str | os.PathLike[str], *, overwrite: bool) -> bool:
    """Whether the folder exists; a run asks this first, before it spends time.

    Raises:
        InputError: it is a file, or holds something and may not be overwritten.
    """
    output = user_path(output).absolute()
    try:
        if not output.exists():
            blocking = next(path for path in output.parents if path.exists())
            if not blocking.is_dir():
                raise InputError(f"output {output}: {blocking} is a file: choose another folder")
            return False
        if not output.is_dir():
            raise InputError(f"output {output}: is a file: choose a folder")
        if not overwrite and any(output.iterdir()):
            raise InputError(
                f"output {output}: is not empty: choose another folder, or add --overwrite"
            )
    except OSError as error:
        raise InputError(_refusal(output, error)) from error
    return True


def _move_into(staging: Path, output: Path, names: Sequence[str]) -> None:
    written = {path.name for path in staging.iterdir()}
    for name in set(names) - written:
        _remove(output / name)
    for name in sorted(written):
        if (output / name).is_dir():
            _remove(output / name)  # No rename replaces a folder that holds something.
        (staging / name).replace(output / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _become(staging: Path, output: Path) -> None:
    make_shared(staging, 0o777)
    output.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(output)


def _refusal(output: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"output {output}: cannot be written ({reason}): choose another folder"
