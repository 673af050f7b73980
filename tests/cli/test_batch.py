"""The command `batch`: its exit codes, its lines, and one clear line for what it cannot use."""

import re
import signal

import pytest

from drivenmorph_jax import cli
from drivenmorph_jax.pipeline.batch import INDEX, RESULTS
from tests.pipeline.batches import METHOD, install, write_csv, write_scan


@pytest.fixture
def registrations(monkeypatch):
    monkeypatch.setattr(cli.batch, "make_method", lambda *_: METHOD)
    return install(monkeypatch)


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """A CSV file in the current folder, of three pairs."""
    monkeypatch.chdir(tmp_path)
    for name in ("f", "a", "b", "c"):
        write_scan(tmp_path / f"{name}.nii.gz")
    rows = [{"fixed": "f.nii.gz", "moving": f"{name}.nii.gz"} for name in "abc"]
    return write_csv(tmp_path / "pairs.csv", rows)


def batch(*arguments) -> int:
    given = ["batch", "pairs.csv", "--output", "out", "--method", "demons", *arguments]
    return cli.main([str(argument) for argument in given])


def test_all_go_well(pairs, registrations, capsys):
    assert batch() == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert [line.split(",")[0] for line in lines[1:4]] == ["1 of 3", "2 of 3", "3 of 3"]
    assert all(" a pair, " in line and " left, " in line for line in lines[1:4])
    assert lines[4].startswith("3 of 3 pairs registered, quality: ")
    assert lines[-2].endswith(RESULTS) and lines[-1].endswith(INDEX)
    assert registrations.done == ["a_to_f", "b_to_f", "c_to_f"]


def test_some_fail(pairs, registrations, capsys, tmp_path):
    (tmp_path / "b.nii.gz").unlink()
    assert batch("--quiet") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "drivenmorph: error: 1 of 3 pairs failed: see out/results.csv, and do them again with "
        "--resume"
    ]
    assert batch("--resume") == 1
    said = capsys.readouterr()
    assert "2 of 3 pairs are there already" in said.out
    assert "failed: b_to_f: " in said.out
    assert registrations.done == ["a_to_f", "b_to_f", "c_to_f", "b_to_f"]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_signals(number, code, pairs, registrations, capsys, tmp_path):
    def stopped(name):
        if name == "b_to_f":
            signal.raise_signal(number)

    registrations.before = stopped
    assert batch() == code
    error = capsys.readouterr().err
    assert error == "drivenmorph: error: interrupted: what was done is in out, --resume goes on\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_to_f", RESULTS, INDEX}


BAD_TABLES = {
    "missing": (None, "pairs pairs.csv: no such file: check the path"),
    "empty": ("", "is empty: begin with a line fixed,moving"),
    "blank": (" , \n\n", "is empty: begin with a line fixed,moving"),
    "no pair": ("fixed,moving\n\n", "holds no pair"),
    "binary": (b"\xff\xfe\x00", "not a readable CSV file"),
    "unknown column": ("fixed,movin\nf,m\n", "line 1: column 'movin' is not known: choose among"),
    "semicolons": ("fixed;moving\nf;m\n", "line 1: .* with commas between"),
    "no column": ("moving\nm\n", "line 1: has no column 'fixed': begin with fixed,moving"),
    "column twice": ("fixed,moving,moving\nf,m,n\n", "line 1: column 'moving' is there twice"),
    "no image": ("fixed,moving\nf,m\ng,\n", "line 3: names no moving image: fill in the column"),
    "short row": ("moving,fixed\nm,f\nm\n", "line 3: names no fixed image"),
    "long row": ("fixed,moving\nf,m,x\n", "line 2: has 3 cells for 2 columns"),
    "labels of one": (
        "fixed,moving,fixed_labels,moving_labels\nf,m,l,\n",
        "line 2: has labels of one image only: give those of both, or neither",
    ),
    "same name": (
        "name,fixed,moving\nx,f,m\n\nX,f,n\n",
        "line 4: its results would go to 'X', as those of line 2: .* column 'name'",
    ),
    "same default": (
        "fixed,moving\n1/t1.nii.gz,2/t1.nii.gz\n3/t1.nii,4/t1.nii\n",
        "line 3: its results would go to 't1_to_t1', as those of line 2",
    ),
    "path as name": ("name,fixed,moving\na/b,f,m\n", "line 2: 'a/b' cannot be the results' folder"),
    "parent as name": ("name,fixed,moving\n..,f,m\n", "line 2: '..' cannot be the results' folder"),
    "table as name": ("name,fixed,moving\nresults.csv,f,m\n", "line 2: 'results.csv' cannot be"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_bad_tables(kind, registrations, capsys, tmp_path, monkeypatch):
    content, message = BAD_TABLES[kind]
    monkeypatch.chdir(tmp_path)
    if content is not None:
        path = tmp_path / "pairs.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    check_refused(batch(), capsys, message)
    assert not (tmp_path / "out").exists() and registrations.done == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formats", "nii"], "format nii: is not known"),
        (["--checkpoint", "x"], "has no weights"),
        (["--resume", "--overwrite"], "not allowed with argument"),
    ],
)
def test_bad_options(arguments, message, pairs, registrations, capsys, tmp_path):
    try:
        code = batch(*arguments)
    except SystemExit as end:
        code = end.code
    check_refused(code, capsys, message)
    assert not (tmp_path / "out").exists() and registrations.done == []


def test_bad_output(pairs, registrations, capsys, tmp_path):
    (tmp_path / "out").write_text("a file")
    check_refused(batch("--resume"), capsys, "is a file: choose a folder")
    (tmp_path / "out").unlink()
    assert batch() == 0
    capsys.readouterr()
    check_refused(batch(), capsys, "not empty: .* add --resume or --overwrite")
    assert batch("--overwrite", "--quiet") == 0
    assert len(registrations.done) == 6


def check_refused(code, capsys, message: str) -> None:
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1, lines
    assert lines[0].startswith("drivenmorph: error: ")
    assert re.search(message, lines[0]), lines[0]
