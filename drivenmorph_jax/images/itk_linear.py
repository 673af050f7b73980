"""ITK's linear transforms: their parameters as a matrix in RAS mm, and the files of one.

`0GenericAffine.mat` of ANTs (MATLAB v4) and the text of .tfm and .txt files hold the same: a kind,
its parameters, its fixed parameters (the centre), all in LPS mm.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import io
from scipy.spatial.transform import Rotation

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images.geometry import LPS
from drivenmorph_jax.writing import write_atomically

AFFINE_KIND = "AffineTransform_double_3_3"
_BANNER = "#Insight Transform File V1.0"
_TEXT = (".tfm", ".txt")
_FLATTEST = 1e-9


class Record(NamedTuple):
    """One transform as ITK writes it.

    Attributes:
        kind: such as `AffineTransform_double_3_3`.
        parameters: LPS mm.
        fixed: fixed parameters.
    """

    kind: str
    parameters: Float[ndarray, "p"]
    fixed: Float[ndarray, "f"]


def in_order(records: list[Record], title: str) -> list[Record]:
    """The records of a file in the order in which a point goes through them.

    A composite applies its last first.

    Raises:
        InputError: several transforms that no composite joins, or none.
    """
    if records and records[0].kind.startswith("CompositeTransform"):
        return records[:0:-1]
    if len(records) == 1:
        return records
    raise InputError(f"{title}: holds {len(records)} separate transforms: give one, or a composite")


def matrix_of(record: Record, title: str) -> Float[ndarray, "4 4"]:
    """The matrix of a linear transform, fixed world to moving world, RAS mm.

    Raises:
        InputError: its kind is not known or not linear, or its numbers are not usable.
    """
    name = record.kind.split("_")[0]
    maker = _MAKERS.get(name)
    if maker is None or not record.kind.endswith("_3_3"):
        raise InputError(
            f"{title}: holds a {record.kind}, which is not supported: give an affine, or a "
            "displacement field"
        )
    parameters = np.asarray(record.parameters, dtype=np.float64).ravel()
    fixed = np.asarray(record.fixed, dtype=np.float64).ravel()
    if len(parameters) != _LENGTHS[name] or len(fixed) not in (0, 3, 4):
        raise InputError(f"{title}: {record.kind} has too few or too many numbers: write it again")
    linear, translation = maker(parameters, fixed)
    middle = fixed[:3] if len(fixed) >= 3 else np.zeros(3)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = translation + middle - linear @ middle
    return check_matrix(_turned(matrix), title)


def check_matrix(matrix: Float[ndarray, "4 4"], title: str) -> Float[ndarray, "4 4"]:
    """The matrix, if it is finite and not singular.

    Raises:
        InputError: if not.
    """
    if not np.isfinite(matrix).all():
        raise InputError(f"{title}: its numbers are not finite: write it again")
    if abs(np.linalg.det(matrix[:3, :3])) < _FLATTEST:
        raise InputError(f"{title}: is singular, it flattens the image: give another affine")
    return matrix


def write_itk_affine(
    path: str | os.PathLike, matrix: np.ndarray, *, centre: np.ndarray | None = None
) -> None:
    """Write an affine as ANTs and SimpleITK read it.

    Args:
        path: .mat is MATLAB v4 (`0GenericAffine.mat`), .tfm or .txt is ITK's text; the file
            appears whole or not at all.
        matrix: (4, 4), fixed world to moving world, RAS mm.
        centre: (3,) RAS mm, the point about which ITK expresses the matrix; the map is the same
            for any, the origin by default.

    Raises:
        InputError: the ending is another, or the file cannot be written.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".mat", *_TEXT):
        raise InputError(f"{path}: ITK's affines end in .mat, .tfm or .txt: change the ending")
    record = affine_record(matrix, centre)
    if suffix == ".mat":
        content = {
            record.kind: record.parameters[:, None],
            "fixed": record.fixed[:, None],
        }
        write_atomically(path, lambda temporary: io.savemat(temporary, content, format="4"))
        return
    lines = [
        _BANNER,
        "#Transform 0",
        f"Transform: {record.kind}",
        f"Parameters: {_words(record.parameters)}",
        f"FixedParameters: {_words(record.fixed)}",
        "",
    ]
    write_atomically(path, lambda temporary: temporary.write_text("\n".join(lines)))


def affine_record(matrix: Float[ndarray, "4 4"], centre: Float[ndarray, "3"] | None) -> Record:
    """An affine as ITK writes it; the centre in RAS mm."""
    turned = _turned(np.asarray(matrix, dtype=np.float64))
    linear, offset = turned[:3, :3], turned[:3, 3]
    middle = np.zeros(3) if centre is None else np.asarray(centre) * LPS
    translation = offset - middle + linear @ middle
    return Record(AFFINE_KIND, np.concatenate([linear.ravel(), translation]), middle)


def read_itk_affine(path: str | os.PathLike) -> np.ndarray:
    """The (4, 4) matrix, fixed world to moving world in RAS mm, of a .mat, .tfm or .txt file.

    Raises:
        InputError: the file cannot be read, or holds something that is not linear.
    """
    title = f"affine {path}"
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{title}: no such file: check the path")
    records = _read_text(path, title) if path.suffix.lower() in _TEXT else _read_mat(path, title)
    matrix = np.eye(4)
    for record in in_order(records, title):
        matrix = matrix_of(record, title) @ matrix
    return matrix


def _read_mat(path: pathlib.Path, title: str) -> list[Record]:
    try:
        content = io.loadmat(path)
    except Exception as error:
        raise InputError(f"{title}: is not a readable .mat file: write it again") from error
    kinds = [name for name in content if name.split("_")[0] in _MAKERS]
    if not kinds:
        found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise InputError(f"{title}: holds {found}, not an affine: give ANTs' 0GenericAffine.mat")
    return [Record(kinds[0], content[kinds[0]], content.get("fixed", np.zeros(0)))]


def _read_text(path: pathlib.Path, title: str) -> list[Record]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{title}: is not a readable text file: write it again") from error
    if not lines or not lines[0].startswith(_BANNER[:-5]):
        raise InputError(
            f"{title}: does not begin with '{_BANNER}': give ITK's text of a transform"
        )
    records: list[Record] = []
    for line in lines[1:]:
        key, _, value = line.partition(":")
        if key.strip() == "Transform":
            records.append(Record(value.strip(), np.zeros(0), np.zeros(0)))
        elif key.strip() in ("Parameters", "FixedParameters") and records:
            field = "parameters" if key.strip() == "Parameters" else "fixed"
            records[-1] = records[-1]._replace(**{field: _numbers(value, title)})
    return records


def _numbers(text: str, title: str) -> Float[ndarray, "n"]:
    try:
        return np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise InputError(f"{title}: holds words where numbers belong: write it again") from error


def _words(numbers: Float[ndarray, "n"]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def _turned(matrix: Float[ndarray, "4 4"]) -> Float[ndarray, "4 4"]:
    """The same map in the other of RAS and LPS."""
    turned = np.eye(4)
    turned[:3, :3] = matrix[:3, :3] * LPS[:, None] * LPS
    turned[:3, 3] = matrix[:3, 3] * LPS
    return turned


def _affine(parameters, _):
    return parameters[:9].reshape(3, 3), parameters[9:]


def _euler(parameters, fixed):
    # About fixed axes, the first letter first; a fourth fixed parameter asks for the other order.
    order = "xyz" if len(fixed) == 4 and fixed[3] else "yxz"
    angles = [parameters["xyz".index(axis)] for axis in order]
    return Rotation.from_euler(order, angles).as_matrix(), parameters[3:]


def _versor(parameters, _):
    vector = parameters[:3]
    scalar = np.sqrt(max(0.0, 1.0 - float(vector @ vector)))
    return Rotation.from_quat([*vector, scalar]).as_matrix(), parameters[3:6]


def _similarity(parameters, fixed):
    linear, translation = _versor(parameters, fixed)
    return linear * parameters[6], translation


_MAKERS = {
    "AffineTransform": _affine,
    "MatrixOffsetTransformBase": _affine,
    "Euler3DTransform": _euler,
    "VersorRigid3DTransform": _versor,
    "Similarity3DTransform": _similarity,
    "TranslationTransform": lambda parameters, _: (np.eye(3), parameters),
    "IdentityTransform": lambda *_: (np.eye(3), np.zeros(3)),
}
_LENGTHS = {
    "AffineTransform": 12,
    "MatrixOffsetTransformBase": 12,
    "Euler3DTransform": 6,
    "VersorRigid3DTransform": 6,
    "Similarity3DTransform": 7,
    "TranslationTransform": 3,
    "IdentityTransform": 0,
}
