"""What the command says, and where."""

import logging
import sys

NAME = "drivenmorph"


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def fail(message: str, *, code: int = 2) -> int:
    """One line on the error stream; returns the exit code."""
    print(f"{NAME}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def show_warnings() -> None:
    """The library's own warnings, a line each; other packages' stay as they are."""
    logger = logging.getLogger("drivenmorph_jax")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"{NAME}: warning: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    # nibabel tells of each fault of a header on its own, and we of the one that matters.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    # Orbax warns, through absl, that it opens a checkpoint read-only: as it is meant to.
    logging.getLogger("absl").setLevel(logging.ERROR)
