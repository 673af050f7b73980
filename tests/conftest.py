"""Test set-up: several CPU devices, strict ranks, and the real data where it is present."""

import os
import pathlib
import signal
from collections.abc import Iterator

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Folder of real brain images: $DRIVENMORPH_DATA, else ../shared/data beside the checkout."""
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("DRIVENMORPH_DATA", default))
    if not (folder / "labels.tsv").is_file():
        pytest.skip(f"no real data at {folder}: set DRIVENMORPH_DATA to the data folder")
    return folder


@pytest.fixture(scope="module", autouse=True)
def room_for_programs() -> Iterator[None]:
    """Drops compiled programs long before a process holds as many memory maps as Linux allows,
    65,530: JAX dies of a segmentation fault where the next program cannot be loaded."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()


@pytest.fixture
def compiled_quickly() -> Iterator[None]:
    """For small programs that run once or twice: most of their time is compilation."""
    previous = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", previous)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt even where the tests run in the background of a shell."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)
