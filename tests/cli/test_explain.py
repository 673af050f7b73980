"""drivenmorph explain, on two small files."""

import json

import pytest

from drivenmorph_jax import cli, pipeline
from drivenmorph_jax.pipeline.explanation import FILES
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


def test_refinement_has_no_force(pair, tmp_path, capsys):
    output = tmp_path / "out"
    given = ["explain", pair["fixed"], pair["moving"], "--output", output, "--refine", "5"]
    assert cli.main([str(argument) for argument in given]) == 2
    assert "--refine moves the map by no force" in capsys.readouterr().err
    assert not output.exists()
