"""A trained anatomy in one file: parameters, and in the header what it is."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.anatomy import init_anatomy
from drivenmorph_jax.model.config import AnatomyConfig


class TrainedAnatomy(NamedTuple):
    """Parameters, their architecture, and what else is known of them, as plain values."""

    params: dict[str, Any]
    config: AnatomyConfig
    metadata: dict[str, Any]


def save_anatomy(path: Path, trained: TrainedAnatomy) -> None:
    """Write a file, which appears whole or not at all.

    Raises:
      InputError: it cannot be written.
    """
    header = {"config": dataclasses.asdict(trained.config), "metadata": trained.metadata}
    content = save(
        {name: np.asarray(leaf) for name, leaf in _flat(trained.params)},
        metadata={"anatomy": json.dumps(header)},
    )
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def load_anatomy(path: Path) -> TrainedAnatomy:
    """Read what `save_anatomy` wrote.

    Raises:
      InputError: there is no such file, or it holds no anatomy.
    """
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {})["anatomy"])
        config = AnatomyConfig(
            **{**header["config"], "channels": tuple(header["config"]["channels"])}
        )
        metadata = dict(header["metadata"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no trained anatomy ({error}): train one") from None
    expected = jax.eval_shape(lambda key: init_anatomy(key, config), jax.random.key(0))
    shapes = {name: leaf.shape for name, leaf in _flat(expected)}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise InputError(f"{path}: its parameters do not fit its architecture: train it again")
    return TrainedAnatomy(_nested(expected, arrays), config, metadata)


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _nested(tree: Mapping[str, Any], arrays: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        name: _nested(value, arrays, f"{prefix}{name}/")
        if isinstance(value, Mapping)
        else arrays[prefix + name]
        for name, value in tree.items()
    }
