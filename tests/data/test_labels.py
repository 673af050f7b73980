import numpy as np
import pytest

from drivenmorph_jax.data.labels import make_label_table, read_label_table
from drivenmorph_jax.data.protocols import PROTOCOLS, dkt31, freesurfer, label_table, lpba40
from drivenmorph_jax.errors import InputError


@pytest.mark.parametrize(
    ("name", "count", "sided"),
    [("freesurfer", 31, 28), ("learn2reg_oasis", 35, 32), ("dkt31", 62, 62), ("lpba40", 56, 54)],
)
def test_protocols_pair_the_sides(name, count, sided):
    table = PROTOCOLS[name]()
    assert len(table) == count and len(table.swaps) == sided
    for value, other in table.swaps.items():
        assert table.swaps[other] == value != other


def test_known_values():
    oasis = label_table("learn2reg_oasis")
    names = dict(zip(oasis.values, oasis.names, strict=True))
    assert (names[11], names[13], names[14]) == ("3rd-Ventricle", "Brain-Stem", "Left-Hippocampus")
    assert (names[20], names[35]) == ("Right-Cerebral-White-Matter", "Right-Choroid-Plexus")
    assert freesurfer().swaps[17] == 53
    assert dkt31().swaps[1035] == 2035
    assert lpba40().swaps[165] == 166 and 181 not in lpba40().swaps


def test_swap_twice_is_nothing():
    labels = np.random.default_rng(0).integers(0, 80, (5, 6, 7)).astype(np.uint8)
    table = freesurfer()
    swapped = table.swap_sides(labels)
    np.testing.assert_array_equal(table.swap_sides(swapped), labels)
    assert (swapped[labels == 2] == 41).all() and (swapped[labels == 16] == 16).all()
    assert (swapped[labels == 77] == 77).all()  # unknown labels stay


def test_swap_beyond_the_type_of_the_labels():
    assert (dkt31().swap_sides(np.full((2, 2, 2), 1002, np.int16)) == 2002).all()
    table = make_label_table([(200, "Left-A"), (300, "Right-A")])
    assert (table.swap_sides(np.full((1, 1, 1), 200, np.uint8)) == 300).all()


def test_consecutive():
    labels = np.array([[[0, 2, 60, 24]]], np.uint8)
    np.testing.assert_array_equal(freesurfer().consecutive(labels), [[[0, 1, 31, 0]]])


def test_read(tmp_path):
    path = tmp_path / "labels.tsv"
    path.write_text("label\tname\n3\tLeft-A\n9\tRight-A\n4\tMiddle\n")
    table = read_label_table(path)
    assert table.values == (3, 9, 4) and table.swaps == {3: 9, 9: 3}
    assert table.structures == (3, 3, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\tname\n", "empty"),
        ("value,name\n3,a\n", "columns"),
        ("label\tname\nx\ta\n", "columns"),
        ("label\tname\n0\ta\n", "start at 1"),
        ("label\tname\n1\ta\n1\tb\n", "twice"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    path = tmp_path / "labels.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_label_table(path)
    path.write_bytes(b"\x1f\x8b\xff")
    with pytest.raises(InputError, match="is not a readable text file"):
        read_label_table(path)
    with pytest.raises(InputError, match=r"data\.labels"):
        label_table(str(tmp_path / "missing.tsv"))


@pytest.mark.realdata
def test_real_table_is_the_freesurfer_one(real_data):
    assert read_label_table(real_data / "labels.tsv") == freesurfer()
