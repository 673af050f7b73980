"""The same work on several things at once."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_threads(function: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
    """As `list(map(function, *arguments))`, on all cores that the process may use.

    Of use where the time goes by outside Python: in SciPy, zlib, XLA and on disks. The first
    exception, in the order of the arguments, is raised once all that began has ended; what has not
    begun by then never does.
    """
    with ThreadPoolExecutor(max_workers=_cores()) as pool:
        futures = [pool.submit(function, *given) for given in zip(*arguments, strict=False)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
