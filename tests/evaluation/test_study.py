import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.evaluation import Method, read_table, run_study, summarise
from drivenmorph_jax.model.result import Registration


def constant_method(value: float) -> Method:
    """A displacement of the same value everywhere."""

    def register(params, fixed, moving):
        del moving
        return Registration(jnp.full((*fixed.shape[:3], 3), params["value"]), ())

    return Method("constant", {"value": jnp.float32(value)}, register)


def without_seconds(rows):
    return [row._replace(score=row.score._replace(seconds=0.0)) for row in rows]


def test_identity_leaves_scores_as_before(phantoms, tmp_path):
    lines = []
    rows = run_study(constant_method(0), phantoms, tmp_path / "pairs.csv", progress=lines.append)
    assert len(rows) == len(phantoms.pairs) == 3
    for row in rows:
        assert row.score.dice == row.score.dice_before > 0
        assert row.score.error_mm == row.score.error_mm_before
        assert row.score.error_mm == pytest.approx(2 * row.score.error_voxels)
        assert row.score.seconds > 0
    assert "pairs/min" in lines[-1] and "left" in lines[-1]
    assert len(read_table(tmp_path / "pairs.csv")) == 3
    summary = summarise(rows)
    assert summary["dice"]["mean"] == pytest.approx(np.mean([row.score.dice for row in rows]))


def test_continues_with_the_missing_pairs(phantoms, tmp_path):
    table, method = tmp_path / "pairs.csv", constant_method(0.2)
    one = run_study(method, phantoms, table, limit=1, progress=str)
    before = table.read_text().splitlines()[1]
    lines = []
    rows = run_study(method, phantoms, table, progress=lines.append)
    assert table.read_text().splitlines()[1] == before
    assert "1 of 3 pairs are there" in lines[0]
    assert rows[0].fixed == one[0].fixed and len(rows) == 3
    again = []
    run_study(method, phantoms, table, progress=again.append)
    assert again == []


def test_refuses_the_table_of_other_parameters(phantoms, tmp_path):
    table = tmp_path / "pairs.csv"
    run_study(constant_method(0), phantoms, table, limit=1, progress=str)
    for other, settings in ((0.5, None), (0, {"step": 3})):
        with pytest.raises(InputError, match="choose another --output"):
            run_study(
                constant_method(other), phantoms, table, settings=settings, limit=1, progress=str
            )


def test_devices_share_the_pairs(phantoms, tmp_path):
    method, devices = constant_method(0.2), jax.local_devices()
    lines = []
    shared = run_study(
        method, phantoms, tmp_path / "a.csv", devices=devices[:2], progress=lines.append
    )
    # Two are done together, then one.
    assert [line.split(":")[0] for line in lines] == ["2 of 3", "2 of 3", "3 of 3"]
    alone = run_study(method, phantoms, tmp_path / "b.csv", devices=devices[:1], progress=str)
    assert without_seconds(shared) == without_seconds(alone)


def test_pairs_without_truth_or_labels_leave_fields_empty(phantoms, tmp_path):
    data = phantoms._replace(
        truth=None, subjects=tuple(s._replace(labels=None) for s in phantoms.subjects)
    )
    rows = run_study(constant_method(0), data, tmp_path / "pairs.csv", limit=1, progress=str)
    assert set(summarise(rows)) == {"sdlogj", "folding_percent", "ndv_percent", "seconds"}
    line = (tmp_path / "pairs.csv").read_text().splitlines()[1].split(",")
    assert line[2:5] == ["", "", ""]
