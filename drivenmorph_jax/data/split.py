"""Who is trained on, who is held out, who is reported, and in which pairs."""

import fnmatch
import hashlib
from collections.abc import Sequence
from typing import TypeVar

from drivenmorph_jax.errors import InputError

Item = TypeVar("Item")


def cyclic_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(fixed, moving) = (i, i + 1) in order of name, the last with the first.

    Raises:
      InputError: fewer than two names.
    """
    ordered = sorted(names)
    if len(ordered) < 2:
        raise InputError(f"{len(ordered)} subjects to evaluate on: pairs need at least 2")
    return tuple(zip(ordered, ordered[1:] + ordered[:1], strict=True))


def split_by_patterns(names: Sequence[str], patterns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names that match none of the shell patterns, and those that match one.

    Raises:
      InputError: a pattern that matches no name, or nothing left to train on.
    """
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise InputError(f"data.validation: {pattern!r} matches no subject, such as {names[0]}")
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)]
    rest = [name for name in names if name not in set(chosen)]
    if not rest:
        raise InputError("data.validation matches every subject: nobody is left to train on")
    return rest, chosen


def split_by_hash(names: Sequence[str], count: int, *, seed: int) -> tuple[list[str], list[str]]:
    """All but `count` names, and these, both in the given order.

    The choice hangs on each name's own hash, so a subject more or less changes it by one at most.

    Raises:
      InputError: fewer than two names would be left.
    """
    if count and len(names) - count < 2:
        raise InputError(
            f"{len(names)} subjects: {count} cannot be set apart and 2 be left to train on; "
            "lower data.holdout or data.validation_fraction, or give more subjects"
        )
    by_hash = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    chosen = set(by_hash[:count])
    return [n for n in names if n not in chosen], [n for n in names if n in chosen]
