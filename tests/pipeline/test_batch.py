"""A batch: which pairs are registered, again or not, and what is said of them."""

import csv
import html.parser
import json
import os
import time
from pathlib import Path
from urllib.parse import unquote

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.images import write_itk_affine
from drivenmorph_jax.model import Registration
from drivenmorph_jax.pipeline import Method, results
from drivenmorph_jax.pipeline.batch import INDEX, RESULTS, Pair, read_pairs, register_pairs
from drivenmorph_jax.pipeline.batch.outcome import COLUMNS
from tests.pipeline.batches import METHOD, install, summarise, write_csv, write_labels, write_scan
from tests.pipeline.brains import write_pair
from tests.pipeline.canned import between, level

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def registrations(monkeypatch):
    return install(monkeypatch)


@pytest.fixture
def pairs(tmp_path) -> list[Pair]:
    """Each with a moving image of its own."""
    fixed = write_scan(tmp_path / "fixed.nii.gz")
    moving = {name: write_scan(tmp_path / f"{name}.nii.gz") for name in NAMES}
    return [Pair(name, {"fixed": fixed, "moving": moving[name]}) for name in NAMES]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / RESULTS).open(newline="") as file:
        return list(csv.DictReader(file))


class Links(html.parser.HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.text, self._tag = "", ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        self.targets += [value for name, value in attrs if name in ("href", "src") and value]

    def handle_data(self, data):
        self.text += data if self._tag != "style" else ""

    def local(self) -> list[str]:
        return [unquote(target) for target in self.targets if not target.startswith("data:")]


def test_the_table_agrees_with_the_summaries(pairs, registrations, tmp_path):
    labels = write_labels(tmp_path / "labels.nii.gz")
    pairs[1] = Pair("b", {**pairs[1].files, "fixed_labels": labels, "moving_labels": labels})
    out = tmp_path / "out"
    outcomes = register_pairs(pairs, out, METHOD)
    rows = table(out)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["name"] for row in rows] == list(NAMES) == registrations.done
    for row, pair, outcome in zip(rows, pairs, outcomes, strict=True):
        summary = summarise(pair.name, labels=pair.name == "b")
        assert (row["fixed"], row["moving"]) == tuple(
            str(pair.files[role]) for role in ("fixed", "moving")
        )
        assert (row["status"], row["error"]) == ("ok", "")
        verdicts = {check["verdict"] for check in summary["quality"]}
        assert row["quality"] == next(v for v in ("fail", "warn", "pass") if v in verdicts)
        assert row["quality"] == outcome.quality
        for stage in ("before", "affine", "after"):
            if pair.name == "b":
                assert float(row[f"dice_{stage}"]) == pytest.approx(summary["dice"][stage], 1e-5)
            else:
                assert row[f"dice_{stage}"] == ""
        for stage in ("affine", "after"):
            found = float(row[f"correlation_{stage}"])
            assert found == pytest.approx(summary["similarity"][stage], 1e-5)
        displacement = summary["deformation"]["largest_displacement_mm"]
        expected = summary["whole_map"] | {"largest_displacement_mm": displacement}
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, 1e-5)
        assert float(row["seconds"]) == pytest.approx(sum(summary["seconds"].values()), 1e-5)


@pytest.mark.parametrize("kind", ["missing", "NaN", "bug", "memory"])
def test_a_bad_pair_does_not_stop_the_rest(kind, pairs, registrations, tmp_path):
    def broken(name):
        if name == "b" and kind in ("bug", "memory"):
            raise {"bug": IndexError("out of\nbounds"), "memory": MemoryError()}[kind]

    registrations.before = broken
    if kind == "missing":
        pairs[1].files["moving"].unlink()
    elif kind == "NaN":
        write_nan(pairs[1].files["moving"])
    out = tmp_path / "out"
    outcomes = register_pairs(pairs, out, METHOD)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok", "ok"]
    row = table(out)[1]
    said = {"missing": "no such file", "NaN": "NaN", "bug": "IndexError: out of bounds"}
    assert said.get(kind, "not enough memory") in row["error"]
    assert "\n" not in row["error"] and row["quality"] == row["seconds"] == ""
    assert {path.name for path in out.iterdir()} == {"a", "c", "d", RESULTS, INDEX}

    # Mended, it alone is done again.
    registrations.before, registrations.done = lambda _: None, []
    write_scan(pairs[1].files["moving"])
    outcomes = register_pairs(pairs, out, METHOD, resume=True)
    assert registrations.done == ["b"]
    assert [outcome.status for outcome in outcomes] == ["ok"] * 4
    assert [row["status"] for row in table(out)] == ["ok"] * 4


def write_nan(path: Path) -> None:
    data = np.zeros((12, 12, 12), np.float32)
    data[3:9, 3:9, 3:9] = 1
    data[5, 5, 5] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


CHANGES = (
    *("none", "not done", "summary damaged", "other summary", "other version"),
    *("input newer", "input moved"),
)


@pytest.mark.parametrize("changes", [CHANGES[:4], CHANGES[3:]])
def test_resume_does_again_what_is_missing_or_has_changed(changes, pairs, tmp_path, monkeypatch):
    assert len(changes) == len(NAMES)
    registrations = install(monkeypatch)
    out = tmp_path / "resumed"
    register_pairs(pairs, out, METHOD, overwrite=True)
    registrations.done = []
    now = [changed(pair, change, out) for pair, change in zip(pairs, changes, strict=True)]
    register_pairs(now, out, METHOD, resume=True)
    assert registrations.done == [
        name for name, change in zip(NAMES, changes, strict=True) if change != "none"
    ]
    assert [row["status"] for row in table(out)] == ["ok"] * len(NAMES)


def changed(pair: Pair, change: str, out: Path) -> Pair:
    """The pair of the next run, after something happened to its files."""
    summary = out / pair.name / "summary.json"
    earlier = time.time() - 100
    for path in pair.files.values():
        os.utime(path, (earlier, earlier))
    if change == "not done":
        for path in summary.parent.iterdir():
            path.unlink()
        summary.parent.rmdir()
    elif change == "summary damaged":
        summary.write_text(summary.read_text()[:-20])
    elif change == "other summary":
        summary.write_text("[1]")
    elif change == "other version":
        document = json.loads(summary.read_text())
        document["versions"]["drivenmorph-jax"] = "0.0.1"
        summary.write_text(json.dumps(document))
    elif change == "input newer":
        os.utime(summary, (earlier - 100, earlier - 100))
    elif change == "input moved":
        moved = pair.files["moving"].with_name(f"{pair.name}_moved.nii.gz")
        write_scan(moved)
        os.utime(moved, (earlier, earlier))
        return Pair(pair.name, {**pair.files, "moving": moved})
    return pair


def test_resume_compares_method_settings_and_formats(pairs, registrations, tmp_path):
    def again(method=METHOD, **options) -> list[str]:
        registrations.done = []
        register_pairs(pairs, tmp_path / "out", method, resume=True, **options)
        return registrations.done

    assert again() == list(NAMES)  # There was nothing yet.
    assert again() == []
    assert again(METHOD._replace(name="another")) == list(NAMES)
    settings_ = METHOD._replace(name="another", details={"iterations": (1, 3)})
    assert again(settings_) == list(NAMES)
    assert again(settings_, formats=["itk"]) == []
    assert again(settings_, formats=["itk", "h5"]) == list(NAMES)
    assert again(settings_) == []  # More is there than is asked for.
    pairs[0].files["moving"].unlink()
    assert again(settings_) == []  # Its results are as good as before.


def test_a_folder_of_something_else_stays(pairs, registrations, tmp_path):
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    (out / "b" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="--resume or --overwrite"):
        register_pairs(pairs, out, METHOD)
    assert registrations.done == [] and {path.name for path in out.iterdir()} == {"b"}
    outcomes = register_pairs(pairs, out, METHOD, resume=True)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok", "ok"]
    assert [path.name for path in (out / "b").iterdir()] == ["notes.txt"]
    outcomes = register_pairs(pairs, out, METHOD, overwrite=True)
    assert [outcome.status for outcome in outcomes] == ["ok"] * 4
    assert (out / "b" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interruption_keeps_what_is_done(end, pairs, registrations, tmp_path):
    def stopped(name):
        if name == "c":
            raise end

    registrations.before = stopped
    out = tmp_path / "out"
    with pytest.raises(end):
        register_pairs(pairs, out, METHOD)
    assert {path.name for path in out.iterdir()} == {"a", "b", RESULTS, INDEX}
    assert [row["name"] for row in table(out)] == ["a", "b"]
    assert "2 still to do" in Links(out / INDEX).text
    registrations.before, registrations.done, said = lambda _: None, [], []
    register_pairs(pairs, out, METHOD, resume=True, say=said.append)
    assert registrations.done == ["c", "d"]
    assert said[0] == "2 of 4 pairs are there already"
    assert said[1].startswith("3 of 4, ") and " a pair, " in said[1] and " left, c: " in said[1]
    assert len(said) == 3


def test_the_page_links_to_what_is_there(pairs, registrations, tmp_path):
    names = ["plain", "with space", "100% <b>&\"'", "a:b", "ø#?", "lost"]
    many = [Pair(name, pairs[0].files) for name in names[:-1]]
    many.append(Pair("lost", {"fixed": tmp_path / "<i>none", "moving": tmp_path / "none"}))
    out = tmp_path / "out"
    register_pairs(many, out, METHOD)
    page = Links(out / INDEX)
    for name in names[:-1]:
        assert {f"./{name}/report.html", f"./{name}/figure.png"} <= set(page.local())
        assert name in page.text
    for target in page.local():
        assert (out / target).is_file(), target
    assert not any("lost" in target for target in page.targets)
    assert "not registered" in page.text and "<i>none: no such file" in page.text
    assert "Dice" not in page.text
    # The worst first.
    verdicts = {row["name"]: row["quality"] or "failed" for row in table(out)}
    worst_first = ("failed", "fail", "warn", "pass")
    order = sorted(names, key=lambda name: worst_first.index(verdicts[name]))
    places = [page.text.index(name) for name in order]
    assert places == sorted(places)


def test_every_format_is_known_before_anything_is_done(pairs, registrations, tmp_path):
    with pytest.raises(InputError, match="format nii"):
        register_pairs(pairs, tmp_path / "out", METHOD, formats=["nii"])
    assert not (tmp_path / "out").exists()


def test_paths_start_at_the_folder_of_the_csv(tmp_path, monkeypatch):
    folder = tmp_path / "lists"
    folder.mkdir()
    absolute = tmp_path / "far" / "m.nii"
    write_csv(
        folder / "pairs.csv",
        [
            {"fixed": "f.nii.gz", "moving": str(absolute), "name": "", "fixed_mask": "../mask.mgz"},
            {"fixed": "x/f.nii.gz", "moving": "~none/m.nii", "name": "second"},
        ],
    )
    monkeypatch.chdir(tmp_path)
    first, second = read_pairs("lists/pairs.csv")
    assert first == (
        "m_to_f",
        {
            "fixed": folder / "f.nii.gz",
            "moving": absolute,
            "fixed_mask": folder / "../mask.mgz",
        },
    )
    assert second.name == "second" and second.files["moving"] == folder / "~none/m.nii"
    monkeypatch.chdir(folder)
    assert read_pairs("pairs.csv") == [first, second]


def test_a_method_compiles_once_for_each_shape(tmp_path, monkeypatch):
    """Of four pairs on two working grids; whole registrations, with all their files."""
    monkeypatch.setattr(results, "write_figure", lambda *_, **__: None)
    traced = []

    @jax.jit
    def solve(fixed, moving, ignored):
        traced.append(fixed.shape)
        displacement = jnp.zeros((*fixed.shape, 3))
        return Registration(displacement, (level(fixed.shape, halvings=1),))

    method = Method("still", None, None, solve, {})  # On the grids of the fixed images.
    kinds = ["plain", "thick"]
    for kind in kinds:
        (tmp_path / kind).mkdir()
    shapes = {kind: write_pair(tmp_path / kind, kind, "oblique") for kind in kinds}
    pairs = []
    for place, kind in enumerate([*kinds, *kinds]):
        affine = tmp_path / f"{kind}.mat"
        write_itk_affine(affine, between(kind, "oblique"))
        files = {role: shapes[kind][role] for role in ("fixed", "moving")}
        pairs.append(Pair(f"{place}", files | {"initial_affine": affine}))
    outcomes = register_pairs(pairs, tmp_path / "out", method)
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert len(traced) == len(set(traced)) == 2

    again = register_pairs(pairs, tmp_path / "out", method, resume=True)
    assert len(traced) == 2
    assert again == outcomes
