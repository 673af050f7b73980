"""Paths as a user writes them."""

import os
from pathlib import Path

from drivenmorph_jax.errors import InputError


def user_path(path: str | os.PathLike) -> Path:
    """The path, with `~` or `~name` at its start as that home folder.

    Raises:
        InputError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: there is no such user: write the whole path") from error
