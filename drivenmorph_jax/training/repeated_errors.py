"""Orbax and TensorStore print traces, from threads of theirs, of the errors that they also raise.

What is raised is told in one line; the traces of the same error in its other threads and futures
would bury it.
"""

import logging
import os
import sys
from collections.abc import Callable
from types import TracebackType

_UNFINISHED = ".orbax-checkpoint-tmp"


def silence_repeated_errors() -> None:
    """From now on; all else that is logged or printed stays. To call it again does nothing."""
    logging.getLogger("absl").addFilter(_is_not_orbax)
    logging.getLogger("asyncio").addFilter(_is_no_failed_save)
    if not isinstance(sys.excepthook, _ExceptHook):
        sys.excepthook = _ExceptHook(sys.excepthook)
    if not isinstance(sys.unraisablehook, _UnraisableHook):
        sys.unraisablehook = _UnraisableHook(sys.unraisablehook)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


def _is_no_failed_save(record: logging.LogRecord) -> bool:
    """Not one of the arrays that a save could not write, after the first of them was raised."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, OSError) or _UNFINISHED in str(error))


class _ExceptHook:
    """For futures that end after the save they belong to: TensorStore prints them as uncaught."""

    def __init__(self, inner: Callable[..., object]) -> None:
        self._inner = inner

    def __call__(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not _is_of_a_closed_loop(error):
            self._inner(kind, error, trace)


class _UnraisableHook:
    """The same, where TensorStore's own threads have nobody to raise it to."""

    def __init__(self, inner: Callable[..., object]) -> None:
        self._inner = inner

    def __call__(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if not _is_of_a_closed_loop(unraisable.exc_value):
            self._inner(unraisable)


def _is_of_a_closed_loop(error: BaseException | None) -> bool:
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
