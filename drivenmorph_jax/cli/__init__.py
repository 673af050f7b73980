"""The command line. Only what `--help` needs is imported at first: JAX takes seconds to load."""

from drivenmorph_jax.cli.command import main

__all__ = ["main"]
