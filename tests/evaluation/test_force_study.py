"""Statistics of a force over pairs: kept, controlled, put into words and pictures."""

import json
import pathlib

import numpy as np
import pytest
from force_tables import force_tables

from drivenmorph_jax.evaluation.causal import with_all_force
from drivenmorph_jax.evaluation.explain import control_partners
from drivenmorph_jax.evaluation.force_figure import draw_force_statistics, draw_removal
from drivenmorph_jax.evaluation.force_study import (
    Images,
    load_pair,
    mirrored_pair,
    save_pair,
    study_pair,
    summarise_force,
)
from drivenmorph_jax.evaluation.force_words import figure_of, in_words
from drivenmorph_jax.evaluation.residual import BINS, ResidualSample, residual_curve
from drivenmorph_jax.model import ClassicalConfig
from drivenmorph_jax.pipeline import demons_method

SOLVE = with_all_force(demons_method(ClassicalConfig(iterations=(4, 6), diffusion_sigma=0.6)).solve)


@pytest.fixture(scope="module")
def images(phantoms):
    return [
        Images(*(np.asarray(phantoms.subjects[i].image, np.float32) for i in p), (6.0, 6.0, 6.0))
        for p in phantoms.pairs
    ]


@pytest.fixture(scope="module")
def studied(images):
    return [
        study_pair(SOLVE, pair, radii=(24.0, 32.0), centres=1, progress=lambda _: None)
        for pair in images
    ]


def residual(seed, force):
    rng = np.random.default_rng(seed)
    before = rng.random(20_000)
    return ResidualSample(np.ones(20_000, bool), force(before), before, 0.1 * before)


def test_a_force_that_follows_the_difference_orders_it_and_another_does_not():
    own, other = residual(0, np.square), residual(1, np.square)
    curve, control = residual_curve(own), residual_curve(own, other)
    assert np.diff(curve["before"]).min() > 0.05
    assert np.ptp(control["before"]) < 0.05
    np.testing.assert_allclose(curve["after"], 0.1 * curve["before"])
    nowhere = other._replace(inside=~own.inside)
    assert np.isnan(residual_curve(own, nowhere)["before"]).all()


def test_a_pair_is_kept_whole(studied, tmp_path):
    save_pair(tmp_path / "pair.npz", studied[0])
    again = load_pair(tmp_path / "pair.npz")
    for own, kept in zip(studied[0].levels, again.levels, strict=True):
        assert (own.level, own.attention_share) == (kept.level, pytest.approx(kept.attention_share))
        np.testing.assert_allclose(own.force, kept.force, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(studied[0].residual.after, again.residual.after, rtol=1e-6)
    assert [r.centre for r in again.removals] == [r.centre for r in studied[0].removals]
    np.testing.assert_allclose(again.removals[1].sums, studied[0].removals[1].sums, rtol=1e-5)


def test_what_the_force_of_phantoms_explains(studied, phantoms, tmp_path):
    partners = control_partners(phantoms.pairs)
    controls = [None if p is None else studied[p] for p in partners]
    summary = summarise_force(studied, controls, smoothing=7.0)
    coarse = summary["levels"]["level_1"]
    assert coarse["cosine_final"]["low"] > coarse["cosine_final_control"]["high"]
    own = summary["residual"]["force_of_the_pair"]
    assert len(own["before"]) == BINS
    assert own["before"][-1]["low"] > own["before"][0]["high"]
    assert own["after"][-1]["high"] < own["before"][-1]["low"]
    radii = summary["removal"]["radii_mm"]
    assert list(radii) == ["24", "32"]
    large = radii["32"]
    assert large["returned_in_the_inner_half"]["mean"] > large["returned"]["mean"] > 0.2
    json.dumps(summary, allow_nan=False)
    text = in_words(summary, control="the force of another pair")
    assert "by construction" in text and "level 1" in text and "radius 32 mm" in text
    tables = [table.splitlines() for table in force_tables(summary).split("\n\n")]
    assert [len({line.count("|") for line in table}) for table in tables] == [1, 1, 1]
    cells = [figure_of(coarse[f"cosine_final{of}"]) for of in ("", "_control")]
    assert tables[0][2].removesuffix(" |").split(" | ")[5:] == cells
    other = summary["residual"]["force_of_another"]
    for line, curve in zip(tables[1][3::2], (own, other), strict=True):
        assert line.split(" | ")[1] == figure_of(curve["before"][-1], 3)
    assert tables[2][3].split(" | ")[1] == figure_of(large["returned"])
    changed = 100 * large["changed_beyond_3_widths"]["mean"]
    assert tables[2][3].split(" | ")[-1] == f"{changed:.2f} % |"
    draw_force_statistics(tmp_path / "force.png", summary, title="phantoms", control="other")
    assert (tmp_path / "force.png").stat().st_size > 20_000


def test_where_no_brain_reaches_so_far_the_tables_say_so(studied):
    summary = summarise_force(studied, [None] * len(studied), smoothing=1000.0)
    rows = force_tables(summary).split("\n\n")[2].splitlines()[2:]
    assert len(rows) == 2 and all(row.endswith("% | - |") for row in rows)
    assert "beyond three widths: -" in in_words(summary, control="the force of another pair")


def test_the_mirrored_control_is_the_same_force_elsewhere(images, studied):
    registration = SOLVE(images[0].fixed, images[0].moving, None)
    mirror = mirrored_pair(registration, images[0])
    summary = summarise_force(studied[:1], [mirror], smoothing=7.0)
    level = summary["levels"]["level_0"]
    assert level["cosine_final_control"]["mean"] < level["cosine_final"]["mean"]
    assert "low" not in level["cosine_final"]
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(mirror.levels[1].force, axis=-1)),
        np.sort(np.linalg.norm(studied[0].levels[1].force, axis=-1)),
        rtol=1e-4,
        atol=1e-7,
    )
    json.dumps(summary, allow_nan=False)


def test_the_picture_of_a_ball(images, tmp_path: pathlib.Path):
    fixed, moving, spacing = images[0]
    full = np.asarray(SOLVE(fixed, moving, None).displacement)
    path = tmp_path / "removed.png"
    draw_removal(
        path,
        fixed,
        moving,
        (full, 0 * full),
        spacing=spacing,
        centre=(10, 12, 10),
        radius=24.0,
        title="a ball",
    )
    assert path.stat().st_size > 20_000
