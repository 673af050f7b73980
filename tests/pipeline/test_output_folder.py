"""Results appear whole or not at all."""

import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.pipeline.output_folder import output_folder

NAMES = ("a", "b")


def fill(output, names, *, overwrite=False):
    with output_folder(output, overwrite=overwrite, names=NAMES) as folder:
        for name in names:
            (folder / name).write_text("new")


@pytest.mark.parametrize("there", ["nothing", "parent", "empty"])
def test_written_whole(there, tmp_path):
    output = tmp_path / "deep" / "out"
    if there == "parent":
        output.parent.mkdir()
    elif there == "empty":
        output.mkdir(parents=True)
    fill(output, NAMES)
    assert sorted(path.name for path in output.iterdir()) == ["a", "b"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "deep", "out"]
    assert output.stat().st_mode & 0o700 == 0o700
    assert output.stat().st_mode & 0o077 == tmp_path.joinpath("deep").stat().st_mode & 0o077


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("exists", [False, True])
def test_not_at_all(error, exists, tmp_path):
    output = tmp_path / "deep" / "out"
    if exists:
        output.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(error),
        output_folder(output, overwrite=False, names=NAMES) as folder,
    ):
        (folder / "a").write_text("half")
        raise error
    assert sorted(tmp_path.rglob("*")) == before


def test_not_empty_is_refused_and_overwritten_when_asked(tmp_path):
    for name in ("a", "b", "mine"):
        (tmp_path / name).write_text("old")
    with pytest.raises(InputError, match="--overwrite"):
        fill(tmp_path, ["a"])
    fill(tmp_path, ["a"], overwrite=True)
    # What this run does not write is gone, what is not a result stays.
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"a": "new", "mine": "old"}


@pytest.mark.parametrize("exists", [False, True])
def test_an_error_names_the_file_that_was_asked_for(exists, tmp_path):
    output = tmp_path / "out"
    if exists:
        output.mkdir()
    with (
        pytest.raises(InputError) as raised,
        output_folder(output, overwrite=False, names=NAMES) as folder,
    ):
        raise InputError(f"cannot write {folder / 'a'}: No space left on device")
    assert str(raised.value) == f"cannot write {output / 'a'}: No space left on device"


def test_files_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        fill(tmp_path / "file", NAMES)
    with pytest.raises(InputError, match="is a file"):
        fill(tmp_path / "file" / "out", NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
