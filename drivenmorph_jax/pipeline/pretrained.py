"""Trained parameters with what using them takes: released in the package, exported, or of a run."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import pydantic

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model import ModelConfig, Params, init
from drivenmorph_jax.model.weights import WEIGHTS_FILE, is_weights_folder, load_weights
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.pipeline.working_space import Shape, Spacing

if TYPE_CHECKING:
    from drivenmorph_jax.training.checkpoint import Weights

RELEASED = Path(__file__).resolve().parents[1] / "released"
DEFAULT = "brain-t1-labels"


class Pretrained(NamedTuple):
    """A trained network.

    Attributes:
        params: for `drivenmorph_jax.model.register`.
        config: its architecture.
        spacing: mm of the grid that it was trained on; None where that was its data's own.
        shape: of that grid.
        source: where the parameters come from.
        sha256: of the weights file; of the parameters' bytes where they come from a run.
    """

    params: Params
    config: ModelConfig
    spacing: Spacing | None
    shape: Shape | None
    source: str
    sha256: str


def load_pretrained(name: str | None = None) -> Pretrained:
    """Weights that are part of the package.

    Args:
        name: "brain-t1-labels" is the default; each has a MODEL_CARD.md in `released/`.

    Raises:
        InputError: there are none of this name, or they are damaged.
    """
    name = name or DEFAULT
    folder = RELEASED / name
    if not is_weights_folder(folder):
        there = sorted(path.parent.name for path in RELEASED.glob(f"*/{WEIGHTS_FILE}"))
        having = f"it has {', '.join(there)}" if there else "it has none yet"
        raise InputError(
            f"no weights {name!r} in this package ({having}): name others, give a trained network "
            "with --checkpoint, or use --method demons, which needs none"
        )
    return _load_exported(folder)._replace(source=name)


def prolonged(pretrained: Pretrained, iterations: int) -> Pretrained:
    """The network with more iterations of local correlation at full resolution.

    Raises:
        InputError: it has none there, or fewer are asked for.
    """
    if iterations < 0:
        raise InputError(f"refinement of {iterations} iterations: at least 0")
    counts = pretrained.config.correlation_iterations
    if not (counts and counts[0]):
        raise InputError(
            f"{pretrained.source} has no correlation iterations at full resolution to prolong: "
            "name what to make alike with --similarity"
        )
    counts = (counts[0] + iterations, *counts[1:])
    config = dataclasses.replace(pretrained.config, correlation_iterations=counts)
    return pretrained._replace(config=config)


def load_checkpoint(folder: str | Path) -> Pretrained:
    """Weights in a folder: exported ones (`weights.safetensors`), or the best of a training run.

    Raises:
        InputError: the folder holds neither, they are damaged, or do not fit their architecture.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise InputError(f"checkpoint {folder}: no such folder: give that of a training run")
    return _load_exported(folder) if is_weights_folder(folder) else _load_run(folder)


def _load_exported(folder: Path) -> Pretrained:
    params, config, metadata = load_weights(folder)
    _check_finite(params, folder)
    spacing, shape = _training_grid(metadata)
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    return Pretrained(params, config, spacing, shape, str(folder), digest)


def _load_run(folder: Path) -> Pretrained:
    weights, config = open_run(folder)
    spacing, shape = _training_grid(weights.config)
    source = f"{folder}, step {weights.step}"
    return Pretrained(weights.params, config, spacing, shape, source, _digest(weights.params))


def open_run(folder: Path) -> tuple["Weights", ModelConfig]:
    """The averaged parameters of a training run's best checkpoint, checked, and their architecture.

    Raises:
        InputError: there is no usable checkpoint, or it does not fit its architecture.
    """
    # Orbax takes seconds to import, and only a run needs it.
    from drivenmorph_jax.training.checkpoint import load_parameters

    weights = load_parameters(folder)
    try:
        document = json.dumps(weights.config["model"])
        config = pydantic.TypeAdapter(ModelConfig).validate_json(document, strict=True)
    except (KeyError, TypeError, pydantic.ValidationError) as error:
        raise InputError(
            f"checkpoint {folder}: its config describes no network of this version: train again"
        ) from error
    _check_fits(weights.params, config, folder)
    _check_finite(weights.params, folder)
    return weights, config


def _training_grid(document: dict[str, Any]) -> tuple[Spacing | None, Shape | None]:
    """Of the `data` section of a run's config, which exported weights repeat."""
    data = document.get("data") or {}
    spacing, shape = data.get("spacing"), data.get("shape")
    return (
        None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2])),
    )


def _check_fits(params: Params, config: ModelConfig, folder: Path) -> None:
    """Same names and shapes as the architecture's own parameters."""
    expected = jax.eval_shape(lambda key: init(key, config), jax.random.key(0))
    wanted, found = _shapes(expected), _shapes(params)
    wrong = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if wrong:
        raise InputError(
            f"checkpoint {folder} does not fit its architecture (first at {wrong[0]}): it comes "
            "from another version, train again"
        )


def _check_finite(params: Params, folder: Path) -> None:
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise InputError(f"weights in {folder} hold NaN or infinite numbers: use other weights")


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}


def _digest(params: Params) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
