"""Compiled programs kept between runs."""

import os
import pathlib

import jax

# Of what takes less to compile, JAX keeps nothing; its own default is 1 s.
_LEAST_SECONDS = 0.1


def enable_compilation_cache() -> None:
    """Keep them in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names another.

    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS, where it is set, says which are worth keeping.
    """
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(cache / "drivenmorph_jax" / "compiled"))
