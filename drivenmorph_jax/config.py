"""Configs: YAML files with dotted overrides, checked against the dataclasses they fill."""

import dataclasses
import difflib
import json
import os
import pathlib
import re
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pydantic
import yaml

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.paths import user_path
from drivenmorph_jax.training.experiment import Config, as_document

__all__ = ["Config", "load_config", "parse_config", "save_config"]

Section = TypeVar("Section")

# Keys whose text is a path. `data.labels` may also be the name of a protocol: see _resolve.
_PATH_KEYS = (
    "data.path",
    "data.validation_path",
    "data.reference",
    "data.cache",
    "data.prepared",
    "data.labels",
    "data.label_maps",
    "training.initial_weights",
)
# Keys of `data` that `data.prepared` stands for.
_IMAGE_FILES = ("path", "validation_path", "reference", "cache", "labels", "label_maps")


def load_config(path: str | pathlib.Path, overrides: Sequence[str] = ()) -> Config:
    """The config in a YAML file, changed by overrides such as `training.steps=100`.

    Relative paths in the file are taken from the file's folder, those in overrides from the
    working folder; `~` and environment variables are expanded in both.

    Raises:
        InputError: no such file, not YAML, an unknown key, or a value of the wrong type.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"config {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"config {path} is not a text in UTF-8: give a YAML file") from None
    return parse_config(text, overrides, folder=path.resolve().parent, source=str(path))


def parse_config(
    text: str,
    overrides: Sequence[str] = (),
    *,
    folder: pathlib.Path | None = None,
    source: str = "config",
) -> Config:
    """`load_config` for text at hand; `folder` is where its relative paths start."""
    document = _parse_yaml(text, source)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InputError(f"{source}: needs keys and values, as in 'training: {{steps: 100}}'")
    _check_keys(document, Config, source)
    changes: dict[str, Any] = {}
    for override in overrides:
        change = _parse_override(override)
        _check_keys(change, Config, f"override {override}")
        _resolve_paths(change, pathlib.Path.cwd())
        _merge(changes, change)
    _leave_out_image_files(document, changes)
    # A path that is overridden is never looked at: it may name a variable that is not set.
    _resolve_paths(document, folder or pathlib.Path.cwd(), except_for=changes)
    _merge(document, changes)
    return validate(document, Config, source)


def save_config(config: Config, path: str | pathlib.Path) -> None:
    """Write every value, defaults included, as YAML that `load_config` reads back."""
    pathlib.Path(path).write_text(yaml.safe_dump(as_document(config), sort_keys=False))


def validate(document: dict[str, Any], section: type[Section], source: str) -> Section:
    """Fill a dataclass from plain values, their types checked strictly ("10" is no integer).

    Raises:
        InputError: a value of the wrong type, or one that the dataclass itself refuses.
    """
    try:
        # By way of JSON, strict still takes a list for a tuple.
        return pydantic.TypeAdapter(section).validate_json(json.dumps(document), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        refusal = first.get("ctx", {}).get("error")
        if isinstance(refusal, InputError):
            raise InputError(f"{source}: {refusal}") from None
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(f"{source}: {key} is {first['input']!r}: {reason}") from None
    except TypeError as error:
        raise InputError(f"{source}: {error}") from None


class _Loader(yaml.SafeLoader):
    """YAML with 1e-3 read as a number, which PyYAML takes for text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"override {override!r}: write it as section.key=value")
    value = _parse_yaml(text, f"override {override!r}")
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _merge(document: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _merge(document[key], value)
        else:
            document[key] = value


def _check_keys(document: dict[str, Any], section: type, source: str, prefix: str = "") -> None:
    hints = typing.get_type_hints(section)
    for key, value in document.items():
        if key not in hints:
            known = [f"{prefix}{name}" for name in hints]
            nearest = _nearest(f"{prefix}{key}", known)
            advice = f"did you mean {nearest}?" if nearest else f"known are {', '.join(known)}"
            raise InputError(f"{source}: unknown key {prefix}{key}: {advice}")
        inner = _dataclass_in(hints[key])
        if inner is not None and isinstance(value, dict):
            _check_keys(value, inner, source, f"{prefix}{key}.")


def _nearest(key: str, siblings: list[str]) -> str | None:
    """A sibling spelt alike, else a key of that very name elsewhere, else any spelt alike."""
    everywhere = list(_all_keys(Config))
    name = key.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(key, siblings, n=1, cutoff=0.75)
    same = [other for other in everywhere if other.rsplit(".", 1)[-1] == name]
    return next(iter([*close, *same, *difflib.get_close_matches(key, everywhere, n=1)]), None)


def _all_keys(section: type, prefix: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(section).items():
        yield f"{prefix}{name}"
        inner = _dataclass_in(hint)
        if inner is not None:
            yield from _all_keys(inner, f"{prefix}{name}.")


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass of a field's type, also of an optional one."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((m for m in members if isinstance(m, type) and dataclasses.is_dataclass(m)), None)


def _resolve_paths(
    document: dict[str, Any], folder: pathlib.Path, *, except_for: dict[str, Any] | None = None
) -> None:
    for dotted in _PATH_KEYS:
        *sections, name = dotted.split(".")
        holder, replaced = document, except_for or {}
        for section in sections:
            holder, replaced = _section(holder, section), _section(replaced, section)
        if isinstance(holder.get(name), str) and name not in replaced:
            text = holder[name]
            if name != "labels" or any(mark in text for mark in "/.$~"):
                holder[name] = _resolve(text, folder, dotted)


def _leave_out_image_files(document: dict[str, Any], changes: dict[str, Any]) -> None:
    """Prepared data stand for all files: a config that names some serves for both."""
    data, changed = _section(document, "data"), _section(changes, "data")
    if not (data | changed).get("prepared"):
        return
    for name in _IMAGE_FILES:
        if changed.get(name) is not None:
            raise InputError(
                f"override data.{name}: not used with data.prepared: leave it out, or add "
                "data.prepared=null"
            )
        data.pop(name, None)


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    inner = document.get(name)
    return inner if isinstance(inner, dict) else {}


def _resolve(text: str, folder: pathlib.Path, key: str) -> str:
    expanded = str(user_path(re.sub(r"\$(\w+|\{\w+\})", _variable, text)))
    if "$" in expanded:
        variable = re.findall(r"\$\{?\w*\}?", expanded)[0]
        raise InputError(f"{key}: environment variable {variable} is not set ({text})")
    return os.path.normpath(folder / expanded)


def _variable(match: re.Match[str]) -> str:
    name = match.group(1).strip("{}")
    # The data folder that the tests and scripts of a checkout look for.
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    fallback = str(default) if name == "DRIVENMORPH_DATA" else match.group(0)
    return os.environ.get(name, fallback)
