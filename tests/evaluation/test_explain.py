import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.evaluation import Method, classical_method, explain, without_residual
from drivenmorph_jax.evaluation.explain import (
    LevelSample,
    control_partners,
    gain_kept,
    interval,
    level_fields,
    level_of,
    level_statistics,
)
from drivenmorph_jax.model import ClassicalConfig, ModelConfig, init, register
from drivenmorph_jax.model.result import LevelResult, Registration


def sample(force, increment, displacement=None):
    displacement = increment if displacement is None else displacement
    inside = np.ones(len(force), bool)
    return LevelSample(1, inside, force, increment, displacement, 0.5)


def vectors(seed, count=4000):
    return np.random.default_rng(seed).standard_normal((count, 3))


def test_force_along_the_motion_is_perfect_and_another_pair_is_not():
    own, other = vectors(0), vectors(1)
    found = level_statistics(sample(3 * own, own, -own), sample(other, other))
    assert found["pearson"] == pytest.approx(1) and found["spearman"] == pytest.approx(1)
    assert found["cosine_increment"] == pytest.approx(1)
    assert found["cosine_final"] == pytest.approx(-1)
    for name in ("pearson", "spearman", "cosine_increment", "cosine_final"):
        assert abs(found[f"{name}_control"]) < 0.08
    assert found["attention_share"] == 0.5


def test_a_rank_correlation_ignores_the_scale():
    own = vectors(0)
    size = np.linalg.norm(own, axis=-1, keepdims=True)
    found = level_statistics(sample(own * size**4, own), None)
    assert found["spearman"] == pytest.approx(1) and found["pearson"] < 0.95
    assert not any(name.endswith("control") for name in found)


def test_no_force_gives_no_statistic():
    found = level_statistics(sample(np.zeros((50, 3)), vectors(0, 50)), None)
    assert found == {"attention_share": 0.5}


def test_control_shares_no_subject():
    cyclic = tuple((i, (i + 1) % 6) for i in range(6))
    partners = control_partners(cyclic)
    assert all(not set(cyclic[i]) & set(cyclic[p]) for i, p in enumerate(partners))
    assert control_partners(((0, 1), (1, 0))) == [None, None]


def test_interval_is_students():
    found = interval([1.0, 2.0, 3.0, float("nan")])
    assert found["mean"] == 2 and found["pairs"] == 3
    assert found["ci95"] == pytest.approx(4.302653 / np.sqrt(3))
    assert "ci95" not in interval([1.0]) and interval([]) == {}


def test_level_of_odd_grids():
    assert level_of((3, 3, 2), (9, 10, 8)) == 2
    with pytest.raises(ValueError, match="halved"):
        level_of((4, 4, 4), (9, 9, 9))


def test_increments_and_final_displacement_are_in_the_level_s_voxels():
    def level(size, value):
        u = jnp.full((size, size, size, 3), value)
        return LevelResult(u, u, u[None], u[None], u[None], jnp.ones(1), jnp.full(1, 2.0))

    registration = Registration(jnp.full((8, 8, 8, 3), 4.0), (level(2, 0.5), level(4, 1.75)))
    coarse, fine = level_fields(registration, jnp.ones((8, 8, 8, 1)))
    assert (coarse["level"], fine["level"]) == (2, 1)
    np.testing.assert_allclose(coarse["increment"], 0.5)
    np.testing.assert_allclose(fine["increment"], 0.75)
    np.testing.assert_allclose(coarse["displacement"], 1)
    np.testing.assert_allclose(fine["displacement"], 2)
    assert coarse["inside"].all()


def test_classical_forces_point_where_the_image_goes(phantoms):
    found = explain(classical_method(ClassicalConfig(iterations=(3, 4))), phantoms, progress=str)
    assert list(found) == ["level_1", "level_0"]
    first = found["level_1"]
    assert first["cosine_final"]["mean"] > first["cosine_final_control"]["mean"] + 0.1
    assert first["cosine_increment"]["pairs"] == 3 and first["attention_share"]["mean"] == 0


def test_without_residual_the_map_is_that_of_the_force_alone(phantoms):
    cfg = ModelConfig(
        channels=(8, 8),
        iterations=(0, 0, 2),
        cross_attention=(),
        self_attention=(),
        residual_channels=(0, 0, 4),
        squarings=(1, 1, 1),
    )
    params = init(jax.random.key(0), cfg)
    assert without_residual(params) is not None
    outer = params["demons"]["level_2"]["residual"]["outer"]
    outer["kernel"] = 0.3 * jax.random.normal(jax.random.key(1), outer["kernel"].shape)
    stripped = without_residual(params)
    assert "residual" in params["demons"]["level_2"]
    assert "residual" not in stripped["demons"]["level_2"]
    fixed, moving = (
        jnp.asarray(phantoms.subjects[i].image, jnp.float32)[..., None] for i in (0, 1)
    )
    run = jax.jit(lambda p: register(p, fixed, moving, cfg))
    full, reduced = run(params), run(stripped)
    assert not np.allclose(full.displacement, reduced.displacement)
    np.testing.assert_array_equal(
        reduced.levels[0].displacement, reduced.levels[0].force_displacement
    )
    assert without_residual(stripped) is None
    assert without_residual(Method("none", {}, lambda *_: None).params) is None


def test_gain_kept():
    assert gain_kept(0.6, 0.8, 0.79) == pytest.approx(0.95)
    assert np.isnan(gain_kept(0.6, 0.6, 0.5))
