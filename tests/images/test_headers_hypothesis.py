"""Whatever a NIfTI header says: a usable volume, or one line that names the file."""

import gzip
import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import load_labels, load_volume
from drivenmorph_jax.images.volume import load_geometry

SHAPE, OFFSET = (6, 5, 7), 352
KNOWN_TYPES = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)
# Booleans, complex, colours, float128 and such as no standard knows.
OTHER_TYPES = (0, 1, 32, 128, 1536, 1792, 2304, 3, 9999, -1)
# Of these the first three are finite and of a usual size.
ODD = (1.0, -1.0, 2.5, 0.0, 1e-30, -1e-3, 1e6, 3e38, math.nan, math.inf, -math.inf)
odd = st.sampled_from(ODD)

# What may be wrong, and with what values; a file has up to four such faults.
FAULTS = {
    "dim": st.lists(st.sampled_from([-1, 0, 1, 2, 3, 5, 8, 32767]), min_size=7, max_size=7),
    "axes": st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 7, 8, 300]),
    "datatype": st.sampled_from(OTHER_TYPES),
    "bitpix": st.sampled_from([0, 1, 8, 16, 24, -8]),
    "pixdim": st.lists(odd, min_size=8, max_size=8),
    "vox_offset": st.sampled_from([0.0, 348.0, 352.5, 353.0, 1e9, -16.0, math.nan, math.inf]),
    "scl_slope": odd,
    "scl_inter": odd,
    "sform_code": st.sampled_from([0, 2, 4, 5, 99, -1]),
    "qform_code": st.sampled_from([0, 2, 4, 5, 99, -1]),
    "srow_x": st.lists(odd, min_size=4, max_size=4),
    "srow_y": st.lists(odd, min_size=4, max_size=4),
    "srow_z": st.lists(odd, min_size=4, max_size=4),
    "quatern_b": odd,
    "quatern_d": odd,
    "qoffset_y": odd,
    "xyzt_units": st.sampled_from([0, 1, 3, 7, 255]),
    "intent_code": st.sampled_from([1005, 1007, 2003, 12345, -1]),
    "sizeof_hdr": st.sampled_from([0, 349, 540, -1]),
    "magic": st.sampled_from([b"ni1", b"n+2", b"", b"\xff\xfe\xfd"]),
    "length": st.integers(0, 1200),
    "voxels": st.sampled_from(["zero", "constant", "bytes", "largest"]),
}


@st.composite
def contents(draw) -> tuple[bytes, list[str]]:
    """Bytes of a NIfTI file, and the names of its faults."""
    kinds = draw(st.lists(st.sampled_from(sorted(FAULTS)), max_size=4, unique=True))
    faults = {kind: draw(FAULTS[kind]) for kind in kinds}
    order = draw(st.sampled_from("<>"))
    code = draw(st.sampled_from(KNOWN_TYPES))
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    header.set_data_shape(SHAPE)
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=draw(st.sampled_from([0, 1])))
    raw = header.structarr
    raw["magic"], raw["vox_offset"] = b"n+1", OFFSET
    dtype = nib.nifti1.data_type_codes.dtype.get(code, np.dtype(np.uint8))
    raw["datatype"], raw["bitpix"] = code, dtype.itemsize * 8
    for kind, value in faults.items():
        if kind == "dim":
            raw["dim"][1:] = value
        elif kind == "axes":
            raw["dim"][0] = value
        elif kind not in ("length", "voxels"):
            raw[kind] = value
    data = _voxels(draw(st.integers(0, 99)), dtype.newbyteorder(order), faults.get("voxels"))
    content = raw.tobytes() + bytes(OFFSET - 348) + data
    return content[: faults.get("length")], kinds


def _voxels(seed: int, dtype: np.dtype, kind: str | None) -> bytes:
    rng, count = np.random.default_rng(seed), math.prod(SHAPE)
    if kind == "bytes":
        return rng.bytes(count * dtype.itemsize)
    if kind == "largest":
        largest = np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max
        return np.where(rng.uniform(size=count) < 0.5, largest, 0).astype(dtype).tobytes()
    values = {"zero": np.zeros(count), "constant": np.full(count, 7)}
    return values.get(str(kind), rng.integers(0, 100, count)).astype(dtype).tobytes()


@pytest.mark.parametrize("zipped", [False, True], ids=["nii", "nii.gz"])
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(made=contents())
def test_any_header_gives_a_usable_volume_or_one_line(zipped, made, tmp_path):
    content, faults = made
    path = tmp_path / ("x.nii.gz" if zipped else "x.nii")
    path.write_bytes(gzip.compress(content, compresslevel=1) if zipped else content)
    for load in (load_volume, load_labels, load_geometry):
        try:
            found = load(path, name="fixed image")
        except InputError as error:
            line = str(error)
            assert faults, line
            assert line.startswith(f"fixed image {path}: ") and len(line.splitlines()) == 1
            assert not line.endswith(": ")
            continue
        shape, affine = found if load is load_geometry else (found.shape, found.affine)
        assert np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-7
        assert min(shape) >= 1
        if load is not load_geometry:
            check(found, content, np.float32 if load is load_volume else np.int32)


@pytest.mark.parametrize("zipped", [False, True], ids=["nii", "nii.gz"])
def test_no_memory_is_set_aside_for_voxels_that_are_not_there(zipped, tmp_path, monkeypatch):
    """A file of a few hundred bytes may promise 16 GiB."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape((1280, 1280, 1280))
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = OFFSET
    content = header.binaryblock + bytes(1000)
    path = tmp_path / ("x.nii.gz" if zipped else "x.nii")
    path.write_bytes(gzip.compress(content) if zipped else content)
    monkeypatch.setattr("nibabel.arrayproxy.array_from_file", None)
    with pytest.raises(InputError, match="promises 16777216000 bytes, more than there are: copy"):
        load_volume(path)


def check(volume, content: bytes, dtype: type) -> None:
    """It is of the header's shape, and can be calculated with."""
    big = content[40] == 0
    dimensions = np.frombuffer(content[40:56], ">i2" if big else "<i2")
    named = [int(size) for size in dimensions[1 : 1 + dimensions[0]]]
    assert list(volume.shape) == named[:3] and set(named[3:]) <= {1}
    assert volume.data.dtype == dtype and np.isfinite(volume.data).all()
    assert min(volume.shape) >= 4
