"""What figures were measured on, and the same cores for every tool."""

import os
import pathlib
import platform

import jax


def hold_to_threads(count: int | None) -> int:
    """Leave this process so many cores, and tell the tools; call it before any has started.

    Returns:
      The number of cores, all that the process may use where `count` is None.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    count = min(count or len(cores), len(cores)) if cores else count or os.cpu_count() or 1
    if cores:
        os.sched_setaffinity(0, cores[:count])
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    return count


def describe_machine(threads: int) -> str:
    """One line: processor, threads, and the device that JAX runs on."""
    device = jax.local_devices()[0]
    name = "the CPU" if device.platform == "cpu" else device.device_kind
    return f"{processor()}, {threads} thread(s) for every method; jax {jax.__version__} on {name}"


def processor() -> str:
    """The processor's own name, where the system tells it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
