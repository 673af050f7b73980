"""Compiled programs kept between runs."""

import os
import pathlib

import jax


def enable_compilation_cache() -> None:
    """Keep them in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names another."""
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(cache / "drivenmorph_jax" / "compiled"))
