"""A trained anatomy in one file: parameters, and in the header what it is."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.anatomy import init_anatomy
from drivenmorph_jax.model.config import AnatomyConfig
from drivenmorph_jax.writing import write_atomically


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
    arrays = {
        name: np.asarray(leaf) for name, leaf in flatten_dict(trained.params, sep="/").items()
    }
    content = save(arrays, metadata={"anatomy": json.dumps(header)})
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


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
    expected: Any = jax.eval_shape(lambda key: init_anatomy(key, config), jax.random.key(0))
    leaves: dict[str, Any] = flatten_dict(expected, sep="/")
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise InputError(f"{path}: its parameters do not fit its architecture: train it again")
    return TrainedAnatomy(unflatten_dict(arrays, sep="/"), config, metadata)
