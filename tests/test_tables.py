"""Tables in text files, as spreadsheets write them."""

import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.tables import Row, read_table


def test_rows_have_their_lines_and_no_spaces_around_cells(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbffixed, moving \r\n\r\n"a,1", b\r\n , \r\nc,\r\n')
    assert read_table(path, "pairs") == (
        Row(1, ["fixed", "moving"]),
        [Row(3, ["a,1", "b"]), Row(5, ["c", ""])],
    )
    path.write_text("label\tname\n3\tLeft A\n")
    assert read_table(path, "labels", delimiter="\t")[1] == [Row(2, ["3", "Left A"])]
    path.write_text("")
    assert read_table(path, "pairs") == (Row(1, []), [])


def test_what_is_no_such_text_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"pairs: no such file"):
        read_table(tmp_path / "none.csv", "pairs")
    path = tmp_path / "a.csv"
    path.write_text("fixed,moving\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"pairs: is not a readable CSV file"):
        read_table(path, "pairs")
