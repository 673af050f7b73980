"""Released weights: a folder with the parameters, and the architecture that they belong to.

`weights.safetensors` holds the parameters under names such as "demons/level_1/log_scale", and in
its header the architecture. `config.yaml` repeats the architecture for people, with whatever else
is to be known of the weights, and the checksum of the other file.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import pydantic
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import ModelConfig
from drivenmorph_jax.model.correlation_parameters import correlation_layers, is_correlation
from drivenmorph_jax.model.drivenmorph import Params, init
from drivenmorph_jax.writing import write_atomically

WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "config.yaml"


class Weights(NamedTuple):
    """What `load_weights` gives: parameters, their architecture, and what else is known of them."""

    params: Params
    model: ModelConfig
    metadata: dict[str, Any]


def save_weights(
    folder: str | os.PathLike,
    params: Params,
    model: ModelConfig,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write parameters and architecture into a folder, which is made if absent.

    Args:
      folder: where to.
      params: of that architecture.
      model: the architecture.
      metadata: plain values that YAML can hold: data, licence, training, figures reached.

    Raises:
      ValueError: the parameters are not of this architecture, or not finite.
      InputError: the folder cannot be written to.
    """
    folder = pathlib.Path(folder)
    arrays = {name: np.asarray(leaf) for name, leaf in _flat(params)}
    wrong = _mismatch(arrays, model)
    if wrong:
        raise ValueError(f"parameters do not fit the architecture: {wrong}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"parameter {name} is not finite")
    architecture = json.loads(json.dumps(dataclasses.asdict(model)))
    content = save(arrays, metadata={"model": json.dumps(architecture)})
    document = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "model": architecture,
        "metadata": dict(metadata or {}),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"weights cannot be written to {folder}: {error.strerror}") from None
    write_atomically(folder / WEIGHTS_FILE, lambda path: path.write_bytes(content))
    text = yaml.safe_dump(document, sort_keys=False)
    write_atomically(folder / CONFIG_FILE, lambda path: path.write_text(text))


def load_weights(folder: str | os.PathLike) -> Weights:
    """Parameters from a folder written by `save_weights`, checked in every respect.

    Raises:
      InputError: a file is missing or damaged, or the two files do not belong together.
    """
    folder = pathlib.Path(folder)
    document = _read_document(folder / CONFIG_FILE)
    model = _parse_model(document.get("model"), folder / CONFIG_FILE)
    path = folder / WEIGHTS_FILE
    arrays, stored = _read_arrays(path, document.get("sha256"))
    if model != _parse_model(stored, path):
        raise InputError(
            f"{folder / CONFIG_FILE} describes another model than the weights beside it: "
            "restore both files from one release"
        )
    wrong = _mismatch(arrays, model)
    if wrong:
        raise InputError(f"{path} does not fit its architecture: {wrong}: get it again")
    params = nested_parameters(jax.tree.map(jax.numpy.asarray, arrays), model)
    return Weights(params, model, document.get("metadata") or {})


def start_from(folder: str | os.PathLike, params: Params, model: ModelConfig) -> Params:
    """The parameters in a folder, as the start of a network whose parameters have their shapes.

    What carries no parameters (iterations, squarings) may differ between the two architectures, a
    level that carried no force there starts from `params`, and so do the correlation's iterations;
    where the network to start has none of these, or no anatomy, those of the weights are left.

    Args:
      folder: of released or exported weights.
      params: of the network to start, from `init`.
      model: its architecture.

    Raises:
      InputError: there are none, they are damaged, or a shape differs.
    """
    found = dict(_flat(load_weights(folder).params))
    wanted = correlation_layers(model).values()
    for name in list(found):
        part, layer = name.split("/")[:2]
        surplus = part == "anatomy" and model.anatomy is None
        if surplus or (is_correlation(layer) and layer not in wanted):
            del found[name]
    there = {name.split("/")[1] for name in found}
    for name, leaf in _flat(params):
        part, place, *_ = name.split("/")
        if part not in ("encoder", "anatomy") and place not in there:
            found[name] = leaf
    wrong = _mismatch({name: np.asarray(leaf) for name, leaf in found.items()}, model)
    if wrong:
        raise InputError(
            f"weights {folder} cannot start this model: {wrong}: give weights of its channels"
        )
    return nested_parameters(found, model)


def is_weights_folder(folder: str | os.PathLike) -> bool:
    """Whether a folder holds released weights."""
    return (pathlib.Path(folder) / WEIGHTS_FILE).is_file()


def _flat(params: Params, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(dict(value), f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def flat_parameters(model: ModelConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of an architecture's parameters, by their names in the weights file."""
    return dict(_flat(_expected(model)))


def nested_parameters(arrays: Mapping[str, Any], model: ModelConfig) -> Params:
    """Arrays by name, in the tree of the architecture: subtrees without a parameter are kept."""

    def fill(tree: Mapping[str, Any], prefix: str) -> Params:
        return {
            name: fill(value, f"{prefix}{name}/")
            if isinstance(value, Mapping)
            else arrays[prefix + name]
            for name, value in tree.items()
        }

    return fill(_expected(model), "")


def _expected(model: ModelConfig) -> Params:
    """Shapes of the architecture's parameters."""
    return jax.eval_shape(lambda key: init(key, model), jax.random.key(0))


def _mismatch(arrays: Mapping[str, np.ndarray], model: ModelConfig) -> str | None:
    """What is wrong with the arrays as parameters of the architecture, None where nothing is."""
    expected = {name: leaf.shape for name, leaf in flat_parameters(model).items()}
    for name, shape in expected.items():
        if name not in arrays:
            return f"{name} is missing"
        if arrays[name].shape != shape:
            return f"{name} is {list(arrays[name].shape)} in place of {list(shape)}"
    surplus = sorted(set(arrays) - set(expected))
    return f"{surplus[0]} has no place in it" if surplus else None


def _read_document(path: pathlib.Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"weights config {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"weights config {path} is not valid YAML: get it again") from None
    if not isinstance(document, dict) or "model" not in document or "sha256" not in document:
        raise InputError(f"{path} is no config of weights: it needs 'model' and 'sha256'")
    return document


def _read_arrays(path: pathlib.Path, checksum: Any) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays of a safetensors file of that checksum, and the architecture in its header."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"weights {path} cannot be read: {error.strerror}") from None
    if found != checksum:
        raise InputError(f"weights {path} are damaged (their checksum is wrong): get them again")
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, json.loads((file.metadata() or {})["model"])
    except (SafetensorError, KeyError, ValueError):
        raise InputError(f"{path} is no weights file of this library: get it again") from None


def _parse_model(document: Any, path: pathlib.Path) -> ModelConfig:
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    if not isinstance(document, dict):
        raise InputError(f"{path}: 'model' needs keys and values")
    unknown = sorted(set(document) - known)
    if unknown:
        raise InputError(
            f"{path}: model.{unknown[0]} is unknown to this version: update drivenmorph-jax"
        )
    try:
        adapter = pydantic.TypeAdapter(ModelConfig)
        return adapter.validate_json(json.dumps(document), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        refusal = first.get("ctx", {}).get("error")
        if isinstance(refusal, InputError):
            raise InputError(f"{path}: {refusal}") from None
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: model.{key} is {first['input']!r}: {first['msg']}") from None
