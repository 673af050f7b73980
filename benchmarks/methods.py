"""The methods that are compared, each as one function of two arrays."""

import dataclasses
import importlib.metadata
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy import ndarray

from drivenmorph_jax.evaluation import Method, classical_method, learned_method
from drivenmorph_jax.model import ClassicalConfig
from drivenmorph_jax.pipeline.pretrained import load_checkpoint, load_pretrained

METHODS = {
    "affine": "affine only",
    "sitk_demons": "SimpleITK Demons",
    "sitk_diffeomorphic_demons": "SimpleITK diffeomorphic Demons",
    "ants_syn": "ANTs SyN, from the common affine",
    "ants_syn_own_affine": "ANTs SyN, its own affine first",
    "ants_syncc_own_affine": "ANTs SyNCC, its own affine first",
    "classical_thirion": "ours, classical: Thirion",
    "classical_symmetric": "ours, classical: symmetric",
    "classical_diffeomorphic": "ours, classical: diffeomorphic",
    "drivenmorph": "ours: DrivenMorph",
}
CLASSICAL = tuple(name for name in METHODS if name.startswith("classical"))

Spacing = tuple[float, float, float]
# (fixed, moving) to a displacement in voxels, and the seconds it took.
Run = Callable[[ndarray, ndarray], tuple[ndarray, float]]


class Entry(NamedTuple):
    """A method, with all that its figures depend on beside the images."""

    name: str
    settings: dict[str, Any]
    run: Run


def make_entry(
    name: str,
    spacing: Spacing,
    *,
    checkpoint: pathlib.Path | None = None,
    constants: Mapping[str, Any] | None = None,
) -> Entry:
    """A method by its name.

    Args:
      name: a key of METHODS.
      spacing: mm of the common grid.
      checkpoint: of DrivenMorph: a run folder or a folder of weights; the released ones by default.
      constants: of classical Demons; the others keep their defaults.

    Raises:
      InputError: the checkpoint cannot be used.
    """
    if name == "affine":
        return Entry(name, {}, lambda f, m: (np.zeros((*f.shape, 3), np.float32), 0.0))
    if name.startswith("sitk"):
        import itk_demons

        settings = {"tool": _version("SimpleITK"), **itk_demons.SETTINGS}
        return Entry(name, settings, timed(lambda f, m: itk_demons.register(name, f, m, spacing)))
    if name.startswith("ants"):
        import ants_syn

        settings = {"tool": _version("antspyx"), "type": ants_syn.VARIANTS[name]}
        return Entry(name, settings, lambda f, m: ants_syn.register(name, f, m, spacing))
    if name == "drivenmorph":
        found = load_checkpoint(checkpoint) if checkpoint else load_pretrained()
        settings = {"sha256": found.sha256, "model": dataclasses.asdict(found.config)}
        return Entry(name, settings, compiled(learned_method(found.params, found.config)))
    values = {"variant": name.removeprefix("classical_"), **(constants or {})}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    cfg = dataclasses.replace(ClassicalConfig(), **values)
    return Entry(name, dataclasses.asdict(cfg), compiled(classical_method(cfg)))


def compiled(method: Method) -> Run:
    """Compiled on the first pair, outside the seconds; with transfers to and from the device."""
    traced = jax.jit(lambda p, f, m: method.register(p, f[..., None], m[..., None]).displacement)
    params = jax.device_put(method.params)
    warm: set[tuple[int, ...]] = set()

    def register(fixed: ndarray, moving: ndarray) -> ndarray:
        return np.asarray(traced(params, fixed, moving))

    def run(fixed: ndarray, moving: ndarray) -> tuple[ndarray, float]:
        if fixed.shape not in warm:
            register(fixed, moving)
            warm.add(fixed.shape)
        return timed(register)(fixed, moving)

    return run


def timed(register: Callable[[ndarray, ndarray], ndarray]) -> Run:
    """With the wall time it takes."""

    def run(fixed: ndarray, moving: ndarray) -> tuple[ndarray, float]:
        start = time.perf_counter()
        displacement = register(fixed, moving)
        return displacement, time.perf_counter() - start

    return run


def read_constants(output: pathlib.Path) -> dict[str, dict[str, Any]]:
    """What `tune` found for classical Demons; nothing where it has not run."""
    path = output / "classical_constants.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"
