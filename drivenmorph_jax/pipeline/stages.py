"""What a registration is doing, and how long each part took."""

import contextlib
import time
from collections.abc import Iterator

from drivenmorph_jax.progress import Say, silent


class Stages:
    """Says each stage as it begins, and keeps its seconds.

    Attributes:
        seconds: by stage, in order; a stage entered twice adds up.
    """

    def __init__(self, say: Say = silent) -> None:
        self.seconds: dict[str, float] = {}
        self._say = say

    @contextlib.contextmanager
    def stage(self, name: str, doing: str) -> Iterator[None]:
        """Time what is inside as `name`; `doing` is what the user is told."""
        self._say(doing)
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
