"""Reading and writing images: what is refused, and in which words."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from nibabel.freesurfer.mghformat import MGHImage

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import Volume, load_labels, load_volume, save_volume

AFFINE = np.array([[-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def picture(shape=(8, 9, 10)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.float32)


def write(path, data, affine=AFFINE, *, codes=(1, 1)):
    # Nifti1Image(data, affine) would refuse, or repair, some of the affines that files have.
    image = nib.Nifti1Image(data, None)
    image.header.set_sform(affine, code=codes[0])
    if codes[1]:
        image.header.set_qform(affine, code=codes[1])
    nib.save(image, path)
    return path


def with_voxel(value):
    data = picture()
    data[3, 3, 3] = value
    return data


def changed(row, column, value):
    affine = AFFINE.copy()
    affine[row, column] = value
    return affine


def header_only(tmp_path):
    path = write(tmp_path / "x.nii", picture())
    path.write_bytes(path.read_bytes()[:400])
    return path


def cut_gzip(tmp_path):
    path = write(tmp_path / "x.nii.gz", picture((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:-200])
    return path


def text_file(tmp_path):
    path = tmp_path / "x.nii"
    path.write_text("no image at all" * 100)
    return path


def text_gzip(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(b"no image at all" * 100))
    return path


def not_gzip(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(b"no image at all" * 100)
    return path


def other_ending(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG")
    return path


def empty_axis(tmp_path):
    path = write(tmp_path / "x.nii", picture())
    content = bytearray(path.read_bytes())
    content[44:46] = (0).to_bytes(2, "little")
    path.write_bytes(content)
    return path


def no_codes(tmp_path):
    return write(tmp_path / "x.nii", picture(), codes=(0, 0))


def colours(tmp_path):
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = tmp_path / "x.nii"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), dtype), AFFINE), path)
    return path


def of(data, affine=AFFINE, **options):
    return lambda tmp_path: write(tmp_path / "x.nii.gz", data, affine, **options)


SHEARED = AFFINE @ np.array([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
BAD = {
    "missing": (lambda tmp_path: tmp_path / "none.nii", "no such file"),
    "folder": (lambda tmp_path: tmp_path, "is a folder"),
    "ending": (other_ending, "not a known image file"),
    "text": (text_file, "not a readable image"),
    "gzipped text": (text_gzip, "not a readable image"),
    "not gzip": (not_gzip, "not a readable image"),
    "cut": (header_only, "truncated or damaged"),
    "cut gzip": (cut_gzip, "truncated or damaged"),
    "empty axis": (empty_axis, "empty axis"),
    "colours": (colours, "not numbers"),
    "complex": (of(picture().astype(np.complex64)), "not numbers"),
    "4-D": (of(picture((8, 8, 8, 2))), "is 4-D"),
    "2-D": (of(picture((8, 8))), "is 2-D"),
    "one slice": (of(picture((8, 8, 1))), "axis of 1 voxels|2-D"),
    "few slices": (of(picture((8, 3, 8))), "axis of 3 voxels"),
    "NaN": (of(with_voxel(np.nan)), "1 voxels are NaN"),
    "infinite": (of(with_voxel(np.inf)), "1 voxels are NaN or infinite"),
    "zero": (of(picture() * 0), "every voxel is 0"),
    "constant": (of(picture() * 0 + 7), "every voxel is 7"),
    "no orientation": (no_codes, "has no orientation"),
    "singular": (of(picture(), changed(0, 0, 0.0), codes=(1, 0)), "singular"),
    "sheared": (of(picture(), SHEARED, codes=(1, 0)), "sheared"),
    "tiny voxels": (of(picture(), changed(1, 1, 1e-5), codes=(1, 0)), "absurd"),
    "huge voxels": (of(picture(), changed(1, 1, 500.0), codes=(1, 0)), "absurd"),
    "NaN affine": (of(picture(), changed(0, 3, np.nan), codes=(1, 0)), "not finite"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_one_line_naming_file_and_mend(case, tmp_path):
    make, words = BAD[case]
    path = make(tmp_path)
    with pytest.raises(InputError, match=words) as raised:
        load_volume(path, name="fixed image")
    message = str(raised.value)
    assert message.startswith(f"fixed image {path}")
    assert "\n" not in message
    assert message.rsplit(": ", 1)[1]


NIFTI_TYPES = (np.uint8, np.int16, np.uint16, np.float32, np.float64)
MGH_TYPES = (np.uint8, np.int16, np.float32)


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [(ending, dtype) for ending in (".nii", ".nii.gz") for dtype in NIFTI_TYPES]
    + [(".mgz", dtype) for dtype in MGH_TYPES],
)
def test_reads_what_was_written(ending, dtype, tmp_path):
    data = picture().astype(dtype)
    if ending == ".mgz":
        nib.save(MGHImage(data, AFFINE), tmp_path / "x.mgz")
    else:
        write(tmp_path / f"x{ending}", data)
    volume = load_volume(tmp_path / f"x{ending}")
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(volume.spacing, [1.5, 2, 3], atol=1e-6)


def test_trailing_singleton_axes_are_dropped(tmp_path):
    path = write(tmp_path / "x.nii", picture()[..., None, None])
    assert load_volume(path).shape == (8, 9, 10)


def test_qform_serves_where_there_is_no_sform(tmp_path):
    path = write(tmp_path / "x.nii", picture(), codes=(0, 1))
    np.testing.assert_allclose(load_volume(path).affine, AFFINE, atol=1e-5)


def test_two_frames_are_reported(tmp_path, caplog):
    image = nib.Nifti1Image(picture(), AFFINE)
    image.set_sform(changed(0, 3, 25.0), code=2)
    image.set_qform(AFFINE, code=1)
    nib.save(image, tmp_path / "x.nii")
    load_volume(tmp_path / "x.nii")
    assert "5 mm apart" in caplog.text


def test_labels_are_whole_numbers(tmp_path):
    labels = (picture() > 100) * 41
    assert load_labels(write(tmp_path / "x.nii", labels.astype(np.float32))).data.dtype == np.int32
    with pytest.raises(InputError, match="not whole numbers"):
        load_labels(write(tmp_path / "y.nii", picture() / 3))


@pytest.mark.parametrize(
    ("given", "stored"),
    [(np.float64, np.float32), (np.int64, np.int32), (np.uint8, np.uint8), (bool, np.uint8)],
)
def test_saved_types(given, stored, tmp_path):
    data = (picture() > 100).astype(given)
    save_volume(tmp_path / "x.nii.gz", Volume(data, AFFINE), description="what it is")
    image = nib.Nifti1Image.from_filename(tmp_path / "x.nii.gz")
    assert image.get_data_dtype() == stored
    np.testing.assert_array_equal(np.asarray(image.dataobj), data)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert bytes(image.header["descrip"].item()).rstrip(b"\0") == b"what it is"


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        save_volume(tmp_path / "none" / "x.nii.gz", Volume(picture(), AFFINE))
    with pytest.raises(InputError, match="change the ending"):
        save_volume(tmp_path / "x.mgz", Volume(picture(), AFFINE))
    target = tmp_path / "x.nii.gz"
    target.mkdir()
    with pytest.raises(InputError, match="cannot write"):
        save_volume(target, Volume(picture(), AFFINE))
    assert [path.name for path in tmp_path.iterdir()] == ["x.nii.gz"]
