"""drivenmorph explain, on two small files."""

import json

import pytest

from drivenmorph_jax import cli, pipeline
from drivenmorph_jax.pipeline.explanation import FILES
from tests.cli.refusing import refused
from tests.pipeline import quick
from tests.pipeline.brains import write_pair


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path)


@pytest.mark.slow
def test_explain(pair, tmp_path, capsys, monkeypatch):
    quick.quicken(monkeypatch)
    monkeypatch.setattr(pipeline, "demons_method", lambda **_: quick.DEMONS)
    output = tmp_path / "out"
    given = ["explain", pair["fixed"], pair["moving"], "--output", output, "--method", "demons"]
    assert cli.main([str(argument) for argument in given]) == 0
    said = capsys.readouterr()
    assert said.err == "" and "by construction" in said.out
    assert {path.name for path in output.iterdir()} == set(FILES)
    document = json.loads((output / "explain.json").read_text())
    assert document["pairs"] == 1 and document["command"].startswith("drivenmorph explain ")
    level = document["levels"]["level_1"]
    assert level["cosine_final"]["mean"] > level["cosine_final_control"]["mean"]
    assert document["removal"]["smoothing_mm"] > 2.5
    assert document["removal"]["radii_mm"]["24"]["returned"]["mean"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--refine", "5"], "unrecognized arguments: --refine 5"),
        (["--regularity", "0"], "--regularity 0: give a number above 0"),
        (["--checkpoint", "none"], "checkpoint none: no such folder"),
        (["--fixed-mask", "none.nii.gz"], "none.nii.gz"),
    ],
)
def test_what_cannot_be_explained_is_one_line(options, message, pair, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["explain", pair["fixed"], pair["moving"], "--output", output, *options]
    assert message in refused(capsys, arguments, output)


def test_results_are_not_written_over_unasked(pair, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    arguments = ["explain", pair["fixed"], pair["moving"], "--output", output]
    assert "--overwrite" in refused(capsys, arguments)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]
