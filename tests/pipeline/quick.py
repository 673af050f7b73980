"""A search and a Demons registration with little effort."""

import functools

from drivenmorph_jax.alignment import AlignmentConfig, align
from drivenmorph_jax.model import ClassicalConfig
from drivenmorph_jax.pipeline import demons_method, registration

_SEARCH = AlignmentConfig(
    points=(12, 20), resolution=(20, 32), iterations=(6, 5), candidates=(2, 1)
)

# One for all tests: it compiles once for each shape of the working grid.
DEMONS = demons_method(ClassicalConfig(iterations=(4, 8, 8)), spacing=(2.5, 2.5, 2.5))


def quicken(monkeypatch) -> None:
    """Let the pipeline search for the affine with little effort."""
    monkeypatch.setattr(registration, "align", functools.partial(align, config=_SEARCH))
