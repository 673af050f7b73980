"""Training subjects that can no longer be read: left out, counted, and told once."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from drivenmorph_jax.data.subject import Subject
from drivenmorph_jax.errors import InputError


class ReadablePairs:
    """Pairs of subjects, for any thread; another pair stands in for one that cannot be read.

    Which one hangs on the seed given alone, and on what can be read: not on who asks when.

    Args:
      subjects: indexing raises InputError where one cannot be read.
      pairs: (fixed, moving) indices to choose from; None: any two different subjects.
      skip: called with a line, once for each subject that is left out; None: none may be.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        pairs: Sequence[tuple[int, int]] | None,
        skip: Callable[[str], None] | None,
    ):
        self._subjects = subjects
        self._pairs = pairs
        self._skip = skip
        self._skipped: set[str] = set()
        self._lock = threading.Lock()

    def read(self, fixed: int, moving: int, *, spare: int) -> tuple[Subject, Subject]:
        """That pair, or another, chosen by the seed `spare`.

        Raises:
          InputError: one cannot be read and none may be skipped, or there is no other pair.
        """
        found = self._both(fixed, moving)
        return self._another(spare) if found is None else found

    def skipped(self) -> list[str]:
        """Names of the subjects that were left out so far."""
        with self._lock:
            return sorted(self._skipped)

    def _both(self, fixed: int, moving: int) -> tuple[Subject, Subject] | None:
        one, other = self._one(fixed), self._one(moving)
        return None if one is None or other is None else (one, other)

    def _another(self, seed: int) -> tuple[Subject, Subject]:
        count = len(self._subjects if self._pairs is None else self._pairs)
        order = [int(index) for index in np.random.default_rng(seed).permutation(count)]
        if self._pairs is None:
            readable = [index for index in order if self._one(index) is not None]
            candidates = [(readable[0], readable[1])] if len(readable) > 1 else []
        else:
            candidates = [self._pairs[index] for index in order]
        for fixed, moving in candidates:
            found = self._both(fixed, moving)
            if found is not None:
                return found
        raise InputError(
            f"no pair of training subjects is left that can be read: {', '.join(self.skipped())}"
        )

    def _one(self, index: int) -> Subject | None:
        try:
            return self._subjects[index]
        except InputError as error:
            if self._skip is None:
                raise
            name = subject_names(self._subjects)[index]
            with self._lock:
                is_new = name not in self._skipped
                self._skipped.add(name)
            if is_new:
                self._skip(f"skipped {name}: {error}")
            return None


def subject_names(subjects: Sequence[Subject]) -> Sequence[str]:
    """Names, without reading the subjects where they are on disk."""
    return getattr(subjects, "names", None) or [subject.name for subject in subjects]
