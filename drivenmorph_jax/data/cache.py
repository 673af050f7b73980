"""Prepared subjects on disk: one `.npz` each, written whole or not at all."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from drivenmorph_jax.data.subject import NativeLabels, Subject
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.writing import make_shared

# Raise it whenever a prepared subject would come out differently.
PREPARATION_VERSION = 3
_LABELS = {"labels", "native_labels", "from_common"}


class CachedSubjects(Sequence[Subject]):
    """Subjects read from their files each time they are asked for; any thread may ask.

    Args:
      names: theirs.
      paths: their files.
      mend: what to do about a file that cannot be read, for the message.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        paths: tuple[Path, ...],
        *,
        mend: str = "delete it, and start again",
    ):
        self.names = names
        self._paths = paths
        self._mend = mend

    def __len__(self) -> int:
        return len(self._paths)

    def choose(self, indices: Sequence[int]) -> "CachedSubjects":
        """Those subjects, still on disk."""
        return CachedSubjects(
            tuple(self.names[i] for i in indices),
            tuple(self._paths[i] for i in indices),
            mend=self._mend,
        )

    @overload
    def __getitem__(self, index: int) -> Subject: ...
    @overload
    def __getitem__(self, index: slice) -> "CachedSubjects": ...
    def __getitem__(self, index: int | slice) -> "Subject | CachedSubjects":
        if isinstance(index, slice):
            return self.choose(range(*index.indices(len(self))))
        subject = read_cached(self._paths[index])
        if subject is None:
            raise InputError(f"{self._paths[index]} cannot be read: {self._mend}")
        # The file may have been prepared under another name.
        return subject._replace(name=self.names[index])


def read_cached(path: Path, *, check_only: bool = False) -> Subject | None:
    """The subject in a cache file; None where there is none, or it is damaged.

    Args:
      path: the file.
      check_only: read the file's list of contents only; arrays then come back empty.
    """
    try:
        # Opened here: np.load leaves a file open that turns out not to be one of its own.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            names = set(content.files)
            if "image" not in names or names & _LABELS not in (set(), _LABELS):
                return None
            if check_only:
                return Subject("", np.zeros((0, 0, 0)))
            if "labels" not in names:
                return Subject("", content["image"])
            native = NativeLabels(content["native_labels"], content["from_common"])
            return Subject("", content["image"], content["labels"], native)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def write_cached(path: Path, subject: Subject, *, mend: str = "set data.cache") -> None:
    """Writes beside the path, then renames: another process sees the whole file or none.

    Args:
      path: the file; its folder is made.
      subject: to be written.
      mend: what to do where the folder cannot be written to, for the message.

    Raises:
      InputError: the folder cannot be written to.
    """
    arrays = {"image": subject.image}
    if subject.labels is not None and subject.native is not None:
        arrays["labels"] = subject.labels
        arrays["native_labels"], arrays["from_common"] = subject.native
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        make_shared(Path(temporary), 0o666)
        Path(temporary).replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}: {mend}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
