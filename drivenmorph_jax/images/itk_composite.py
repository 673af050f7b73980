"""ITK's composite transforms in HDF5 files (.h5), as ANTs, SimpleITK and Slicer read them."""

import os
import pathlib

import h5py
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.geometry import LPS, check_affine
from drivenmorph_jax.images.itk_linear import Record, affine_record, in_order, matrix_of
from drivenmorph_jax.images.transform import Affine, Field, Transform
from drivenmorph_jax.writing import write_atomically

_GROUP = "TransformGroup"
_COMPOSITE = "CompositeTransform_double_3_3"
_FIELD = "DisplacementFieldTransform"
# ITK before 5.0 knows only its own misspelling; all later ones read it too.
_NAMES = ("TranformParameters", "TranformFixedParameters")
_CORRECT_NAMES = ("TransformParameters", "TransformFixedParameters")


def write_composite(path: str | os.PathLike, transform: Transform) -> None:
    """Write a chain as it is, affines beside fields.

    Args:
        path: a .h5 file; it appears whole or not at all.
        transform: each field keeps its own grid.

    Raises:
        InputError: a field's grid is sheared (ITK refuses it), or the file cannot be written.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".h5":
        raise InputError(f"{path}: composites are written as .h5: change the ending")
    for part in transform.parts:
        if isinstance(part, Field):
            check_affine(part.affine, f"displacement field {path}")
    parts = transform.parts or (Affine(np.eye(4)),)

    def write(temporary: pathlib.Path) -> None:
        with h5py.File(temporary, "w") as file:
            _write_text(file, "ITKVersion", "5.4.0")
            _write_text(file, f"{_GROUP}/0/TransformType", _COMPOSITE)
            # The last is applied first.
            for number, part in enumerate(reversed(parts), start=1):
                _write_record(file.create_group(f"{_GROUP}/{number}"), _record(part))

    write_atomically(path, write)


def read_composite(path: str | os.PathLike) -> Transform:
    """The chain of affines and fields in an .h5 file.

    Raises:
        InputError: the file cannot be read, or holds a kind of transform that we do not know.
    """
    title = f"transform {path}"
    if not pathlib.Path(path).is_file():
        raise InputError(f"{title}: no such file: check the path")
    try:
        with h5py.File(path, "r") as file:
            group = file[_GROUP]
            records = [_read_record(group[name]) for name in sorted(group, key=int)]  # type: ignore
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{title}: is not a readable ITK transform: write it again") from error
    return Transform(tuple(_part(record, title) for record in in_order(records, title)))


def _record(part: Affine | Field) -> Record:
    if isinstance(part, Affine):
        return affine_record(part.matrix, None)
    spacing = np.linalg.norm(part.affine[:3, :3], axis=0)
    directions = LPS[:, None] * part.affine[:3, :3] / spacing
    origin = LPS * part.affine[:3, 3]
    fixed = np.concatenate([part.grid.shape, origin, spacing, directions.ravel()])
    vectors = part.displacement * LPS.astype(np.float32)
    # ITK's first axis is the fastest.
    parameters = np.ascontiguousarray(vectors.transpose(2, 1, 0, 3)).ravel()
    return Record(f"{_FIELD}_double_3_3", parameters, fixed)


def _part(record: Record, title: str) -> Affine | Field:
    if not record.kind.startswith(_FIELD):
        return Affine(matrix_of(record, title))
    if len(record.fixed) != 18:
        raise InputError(f"{title}: its field is not three-dimensional: give a 3-D transform")
    size, origin, spacing = record.fixed[:9].reshape(3, 3)
    x, y, z = np.rint(size).astype(int)
    if record.parameters.size != x * y * z * 3:
        raise InputError(f"{title}: its field has too few or too many vectors: write it again")
    if not np.isfinite(record.parameters).all():
        raise InputError(f"{title}: holds NaN or infinite vectors: write it again")
    affine = np.eye(4)
    affine[:3, :3] = LPS[:, None] * record.fixed[9:].reshape(3, 3) * spacing
    affine[:3, 3] = LPS * origin
    check_affine(affine, title)
    vectors = record.parameters.reshape(z, y, x, 3).transpose(2, 1, 0, 3)
    return Field(_as_ras(vectors), affine)


def _as_ras(vectors: Float[ndarray, "x y z 3"]) -> Float[ndarray, "x y z 3"]:
    return np.ascontiguousarray(vectors * LPS.astype(np.float32), dtype=np.float32)


def _write_record(group: h5py.Group, record: Record) -> None:
    _write_text(group, "TransformType", record.kind)
    large = record.parameters.size > 4096
    group.create_dataset(
        _NAMES[0], data=record.parameters, compression="gzip" if large else None, shuffle=large
    )
    group.create_dataset(_NAMES[1], data=record.fixed.astype(np.float64))


def _read_record(group: h5py.Group) -> Record:
    kind = group["TransformType"][0]  # type: ignore[index]
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if kind.startswith("CompositeTransform"):
        return Record(kind, np.zeros(0), np.zeros(0))
    names = _NAMES if _NAMES[0] in group else _CORRECT_NAMES
    parameters, fixed = (np.asarray(group[name]) for name in names)
    return Record(kind, parameters, fixed)


def _write_text(group: h5py.Group, name: str, text: str) -> None:
    # Of variable length: ITK reads no other.
    group.create_dataset(
        name, data=np.array([text], dtype=object), dtype=h5py.string_dtype("ascii")
    )
