"""The methods that are compared, each as one function of two arrays."""

import argparse
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy import ndarray
from own_grid import Finish, halvings, on_coarser_grid

from drivenmorph_jax.evaluation import Method, classical_method, learned_method
from drivenmorph_jax.model import ClassicalConfig, finer_iterations, register_finer
from drivenmorph_jax.model.correlation_parameters import comparison
from drivenmorph_jax.model.drivenmorph import name_both
from drivenmorph_jax.model.finer import FINER_COMPARISON, FINER_ITERATIONS
from drivenmorph_jax.model.named import Named
from drivenmorph_jax.pipeline.pretrained import Pretrained, load_checkpoint, load_pretrained
from drivenmorph_jax.pipeline.refinement import RefineConfig, refine

METHODS = {
    "affine": "affine only",
    "sitk_demons": "SimpleITK Demons",
    "sitk_diffeomorphic_demons": "SimpleITK diffeomorphic Demons",
    "ants_syn": "ANTs SyN, from the common affine",
    "ants_syn_own_affine": "ANTs SyN, its own affine first",
    "ants_syncc_own_affine": "ANTs SyNCC, its own affine first",
    "dipy_syn": "dipy SyN",
    "convex_adam": "convexAdam",
    "unet": "U-Net (VoxelMorph)",
    "unet_labels": "U-Net (VoxelMorph), trained with labels",
    "transmorph": "Swin transformer (TransMorph)",
    "classical_thirion": "ours, classical: Thirion",
    "classical_symmetric": "ours, classical: symmetric",
    "classical_diffeomorphic": "ours, classical: diffeomorphic",
    "classical_detail": "ours, without weights: symmetric, of detail",
    "drivenmorph_network": "ours: brain-t1, without correlation iterations",
    "drivenmorph_fast": "ours: brain-t1, at the network's resolution",
    "drivenmorph": "ours: brain-t1",
    "drivenmorph_refined": "ours: brain-t1, refined",
    "drivenmorph_labels": "ours: brain-t1-labels",
    "drivenmorph_labels_refined": "ours: brain-t1-labels, refined",
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


UNSUPERVISED, SUPERVISED = "brain-t1", "brain-t1-labels"
# Raise them whenever these make other maps with the same constants.
_CORRELATION_VERSION = 2
_REFINEMENT_VERSION = 2
# What else our own loop has trained, and the architecture of each.
_LEARNED = {"unet": "unet", "unet_labels": "unet", "transmorph": "transmorph"}


class UnavailableError(Exception):
    """A method cannot run here: the message says what it lacks."""


def make_entry(
    name: str,
    spacing: Spacing,
    *,
    checkpoint: pathlib.Path | None = None,
    constants: Mapping[str, Any] | None = None,
    baselines: Mapping[str, pathlib.Path] | None = None,
) -> Entry:
    """A method by its name. What is learned works on the grid that it was trained on.

    Args:
      name: a key of METHODS.
      spacing: mm of the common grid.
      checkpoint: of DrivenMorph: a run folder or a folder of weights; by default the released
        ones: those of the name, or those that saw no labels, as the learned baselines did not.
      constants: of classical Demons; the others keep their defaults.
      baselines: run folders of the learned baselines, by name.

    Raises:
      InputError: the checkpoint cannot be used.
      UnavailableError: the method's tool is not installed, or its run folder is not given.
    """
    if name == "affine":
        return Entry(name, {}, lambda f, m: (np.zeros((*f.shape, 3), np.float32), 0.0))
    if name in _LEARNED:
        return _baseline(name, spacing, (baselines or {}).get(name))
    if name.startswith("drivenmorph"):
        if checkpoint and "_labels" in name:
            raise UnavailableError(f"its weights are {SUPERVISED}: leave out --checkpoint")
        released = SUPERVISED if "_labels" in name else UNSUPERVISED
        found = load_checkpoint(checkpoint) if checkpoint else load_pretrained(released)
        return ours(name, spacing, found, RefineConfig() if name.endswith("refined") else None)
    if not name.startswith("classical"):
        return _other_tool(name, spacing)
    kind = name.removeprefix("classical_")
    sees = kind in ("detail", "mind")
    variant = {"variant": "symmetric", "sees": kind} if sees else {"variant": kind}
    values: dict[str, Any] = {**variant, **(constants or {})}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    cfg = dataclasses.replace(ClassicalConfig(), **values)
    return Entry(name, dataclasses.asdict(cfg), compiled(classical_method(cfg)))


def ours(name: str, spacing: Spacing, found: Pretrained, cfg: RefineConfig | None) -> Entry:
    """DrivenMorph as `drivenmorph register` runs it: on the grid that it was trained on, with the
    refinement there if there is one, then finer where the common grid is; by a name that ends in
    "_fast" not finer, in "_network" without its correlation iterations.

    Raises:
      InputError: the common grid is not one that halves to the network's own.
    """
    if name.endswith("_network"):
        found = levels_alone(found)
    # What an architecture does without is left out: records from before it could have it remain.
    model = {k: v for k, v in dataclasses.asdict(found.config).items() if v is not None}
    settings = {"sha256": found.sha256, "model": model}
    if found.config.correlation_iterations:
        how = comparison(found.config)._asdict()
        settings["comparison"] = how | {"version": _CORRELATION_VERSION}
    run = compiled(learned_method(found.params, found.config))
    if cfg is not None:
        settings["refinement"] = dataclasses.asdict(cfg) | {"version": _REFINEMENT_VERSION}
        run = refined(run, cfg, namer(found))
    own = found.spacing or spacing
    goes_on = finer_iterations(found.config) > 0 and halvings(spacing, own) == 1
    if name.endswith("_fast") and not goes_on:
        raise UnavailableError("on the network's own grid it is what it is without _fast")
    if goes_on and not name.endswith("_fast"):
        finer = FINER_COMPARISON._asdict() | {"iterations": FINER_ITERATIONS}
        settings |= {"spacing": list(own), "finer": finer}
        return Entry(name, settings, on_coarser_grid(run, 1, finisher(found)))
    return _at(name, settings, run, spacing, own)


def levels_alone(found: Pretrained) -> Pretrained:
    """The network without what comes after its levels."""
    config = dataclasses.replace(found.config, correlation_iterations=())
    return found._replace(config=config, source=f"levels of {found.source} alone")


def finisher(found: Pretrained) -> Finish:
    """`register_finer`, of arrays without channels, compiled for each shape."""

    @jax.jit
    def traced(params: Any, fixed: Any, moving: Any, start: Any) -> Any:
        pair = fixed[..., None], moving[..., None]
        return register_finer(params, *pair, start, found.config).displacement

    return lambda fixed, moving, start: np.asarray(traced(found.params, fixed, moving, start))


def _baseline(name: str, spacing: Spacing, folder: pathlib.Path | None) -> Entry:
    # Orbax and the networks: seconds to import, and only these methods need them.
    from baselines import load_baseline

    if folder is None:
        raise UnavailableError(f"give the folder of its training: --baseline {name}=DIR")
    method, config = load_baseline(_LEARNED[name], folder)
    settings = {"sha256": _digest(method.params), "model": config["model"]}
    trained = config["data"]["spacing"] or spacing
    return _at(name, settings, compiled(method), spacing, trained)


def _at(name: str, settings: dict, run: Run, spacing: Spacing, trained: Any) -> Entry:
    count = halvings(spacing, trained)
    if count:
        settings = {**settings, "spacing": list(trained)}
    return Entry(name, settings, on_coarser_grid(run, count))


def _other_tool(name: str, spacing: Spacing) -> Entry:
    try:
        if name.startswith("sitk"):
            import itk_demons

            settings = {"tool": _version("SimpleITK"), **itk_demons.SETTINGS}
            demons = functools.partial(itk_demons.register, name, spacing=spacing)
            return Entry(name, settings, timed(demons))
        if name.startswith("ants"):
            import ants_syn

            settings = {"tool": _version("antspyx"), "type": ants_syn.VARIANTS[name]}
            return Entry(
                name, settings, functools.partial(ants_syn.register, name, spacing=spacing)
            )
        if name == "dipy_syn":
            import dipy_syn

            settings = {"tool": _version("dipy"), **dipy_syn.SETTINGS}
            return Entry(name, settings, timed(lambda f, m: dipy_syn.register(f, m, spacing)))
        import convex_adam

        settings = {"tool": _version("convexAdam"), **convex_adam.SETTINGS}
        return Entry(name, settings, timed(convex_adam.register))
    except ImportError as error:
        raise UnavailableError(f"{error}: install its package") from None


def compiled(method: Method) -> Run:
    """Compiled on the first pair, outside the seconds; with transfers to and from the device."""
    traced = jax.jit(lambda p, f, m: method.register(p, f[..., None], m[..., None]).displacement)
    params = jax.device_put(method.params)

    def register(fixed: ndarray, moving: ndarray) -> ndarray:
        return np.asarray(traced(params, fixed, moving))

    return timed(register, warm_up=register)


def namer(found: Pretrained) -> Callable[[Any, Any], Named | None]:
    """The structures of both images, compiled for each shape."""
    traced = jax.jit(lambda params, fixed, moving: name_both(params, fixed, moving, found.config))
    return lambda fixed, moving: traced(found.params, fixed, moving)


def refined(run: Run, cfg: RefineConfig, name: Callable[[Any, Any], Named | None]) -> Run:
    """A method, and after it the refinement of each pair on its own; the seconds are of both."""

    def register(fixed: ndarray, moving: ndarray) -> ndarray:
        start, _ = run(fixed, moving)
        pair = jnp.asarray(fixed)[..., None], jnp.asarray(moving)[..., None]
        return np.asarray(refine(jnp.asarray(start), *pair, cfg, named=name(*pair)).displacement)

    return timed(register, warm_up=register)


def timed(
    register: Callable[[ndarray, ndarray], ndarray],
    *,
    warm_up: Callable[[ndarray, ndarray], Any] | None = None,
) -> Run:
    """With the wall time it takes.

    Args:
      register: (fixed, moving) to a displacement.
      warm_up: called before the first pair of a shape: what is compiled is not timed.
    """
    warm: set[tuple[int, ...]] = set()

    def run(fixed: ndarray, moving: ndarray) -> tuple[ndarray, float]:
        if warm_up is not None and fixed.shape not in warm:
            warm_up(fixed, moving)
            warm.add(fixed.shape)
        start = time.perf_counter()
        displacement = register(fixed, moving)
        return displacement, time.perf_counter() - start

    return run


def add_baseline_option(parser: argparse.ArgumentParser) -> None:
    """The run folders of the learned baselines, as pairs in `baselines`."""
    parser.add_argument(
        "--baseline",
        dest="baselines",
        action="append",
        default=[],
        type=named_folder,
        metavar="NAME=DIR",
        help=f"run folder of a trained baseline: {', '.join(_LEARNED)}",
    )


def named_folder(text: str) -> tuple[str, pathlib.Path]:
    name, _, folder = text.partition("=")
    if name not in _LEARNED or not folder:
        forms = " or ".join(f"{known}=DIR" for known in _LEARNED)
        raise argparse.ArgumentTypeError(f"{text!r}: write it as {forms}")
    return name, pathlib.Path(folder)


def read_constants(output: pathlib.Path) -> dict[str, dict[str, Any]]:
    """What `tune` found for classical Demons; nothing where it has not run."""
    path = output / "classical_constants.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _digest(params: Any) -> str:
    content = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        content.update(np.ascontiguousarray(leaf).tobytes())
    return content.hexdigest()


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"
