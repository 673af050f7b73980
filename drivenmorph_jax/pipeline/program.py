"""The registration as one file that needs JAX alone: a `jax.export` program, beside its weights."""

import datetime
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import ModelConfig
from drivenmorph_jax.model.drivenmorph import register
from drivenmorph_jax.model.weights import WEIGHTS_FILE, flat_parameters, nested_parameters
from drivenmorph_jax.pipeline.working_space import Shape
from drivenmorph_jax.writing import write_atomically

PROGRAM_FILE = "register.jax_export"
DESCRIPTION_FILE = "register.json"
PLATFORMS = ("cpu", "cuda", "tpu")


class Program(NamedTuple):
    """A serialised program, and what is to be known of it in plain values."""

    content: bytes
    description: dict[str, Any]


def export_program(model: ModelConfig, shape: Shape) -> Program:
    """The function (weights, fixed, moving) -> displacement of one architecture and grid.

    `weights` is what `safetensors.numpy.load_file` gives for the exported weights: a dictionary by
    name. Images are (batch, D, H, W, 1), displacements (batch, D, H, W, 3), float32, voxels of the
    grid; of the batch the program knows no number. It holds code for every one of PLATFORMS, and
    no parameter: weights of the same architecture that were trained on go into the same program.

    Raises:
        InputError: an axis of the shape has no voxel.
    """
    if min(shape) < 1:
        raise InputError(f"program for {list(shape)} voxels: every axis needs 1 or more")

    def registration(
        weights: dict[str, Array],
        fixed: Float[Array, "batch d h w 1"],
        moving: Float[Array, "batch d h w 1"],
    ) -> Float[Array, "batch d h w 3"]:
        params = nested_parameters(weights, model)
        return jax.vmap(lambda f, m: register(params, f, m, model).displacement)(fixed, moving)

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape, 1), jnp.float32)
    weights = flat_parameters(model)
    with _nameless_source():
        exported = export.export(jax.jit(registration), platforms=PLATFORMS)(
            weights, images, images
        )
    content = bytes(exported.serialize())
    description = {
        "function": "(weights, fixed, moving) -> displacement",
        "inputs": {
            "weights": f"the arrays of {WEIGHTS_FILE} by name",
            "fixed": _described(exported.in_avals[-2]),
            "moving": _described(exported.in_avals[-1]),
        },
        "output": {"displacement": _described(exported.out_avals[0])},
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "exported": datetime.date.today().isoformat(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return Program(content, description)


def save_program(folder: str | Path, program: Program) -> None:
    """Write the program and its description into an existing folder, each whole or not at all.

    Raises:
        InputError: the folder cannot be written to.
    """
    folder = Path(folder)
    text = json.dumps(program.description, indent=2) + "\n"
    write_atomically(folder / PROGRAM_FILE, lambda path: path.write_bytes(program.content))
    write_atomically(folder / DESCRIPTION_FILE, lambda path: path.write_text(text))


def remove_program(folder: str | Path) -> None:
    """A folder without a program stays as it is.

    Raises:
        InputError: the folder cannot be written to.
    """
    for path in (Path(folder) / DESCRIPTION_FILE, Path(folder) / PROGRAM_FILE):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be replaced: {error.strerror}") from error


@contextmanager
def _nameless_source() -> Iterator[None]:
    """The source files that a program names for its lines are named without their folders."""
    option = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, option)
    jax.config.update(option, ".*/")
    try:
        yield
    finally:
        jax.config.update(option, before)


def _described(aval: Any) -> dict[str, Any]:
    """Shape and dtype; an axis of no fixed size is given by its name."""
    shape = [n if isinstance(n, int) else str(n) for n in aval.shape]
    return {"shape": shape, "dtype": str(aval.dtype)}
