"""What long work says of itself, to whoever listens."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Called with a line, without its end."""


def silent(_: str) -> None:
    """A `Say` that says nothing."""
