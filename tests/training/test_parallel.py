import jax
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.optimiser import make_optimiser
from drivenmorph_jax.training.parallel import make_backend
from drivenmorph_jax.training.settings import TrainingConfig


def backend(tiny, name, batch=8, **options):
    optimiser = make_optimiser(tiny.OPTIMISER, 6)
    return make_backend(name, tiny.loss_fn, optimiser, batch=batch, ema_decay=0.9, **options)


def run(tiny, name, steps, **options):
    made = backend(tiny, name, **options)
    state, batches, losses = made.place_state(tiny.new_state()), tiny.Batches(), []
    for _ in range(steps):
        state, metrics = made.step(state, made.place_batch(next(batches)))
        losses.append({name: float(value) for name, value in metrics.items()})
    return made, state, losses


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("auto", {}),
        ("mesh", {}),
        ("mesh", {"shard_state": True}),
        ("mesh", {"space": 2, "shard_state": True}),
        ("mesh", {"space": 4}),
        ("mesh", {"space": 8}),
    ],
)
def test_many_devices_give_the_loss_and_gradient_of_one(tiny, name, options, monkeypatch):
    monkeypatch.setattr("drivenmorph_jax.training.mesh._SMALL", 1)
    one, single_state, single = run(tiny, "single", 4)
    many, many_state, losses = run(tiny, name, 4, **options)
    assert one.devices == 1 and many.devices == 8
    assert many.name == ("pmap" if name == "auto" else name)
    for a, b in zip(single, losses, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    # Adam's first moment is a mean of gradients: a factor n in them would show here, where
    # clipping and Adam's scaling hide it from the parameters.
    for a, b in zip(
        jax.tree.leaves(single_state.opt_state), jax.tree.leaves(many_state.opt_state), strict=True
    ):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-7)
    for a, b in zip(
        jax.tree.leaves(single_state.params), jax.tree.leaves(many_state.params), strict=True
    ):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [("single", {}), ("pmap", {}), ("mesh", {}), ("mesh", {"space": 2, "shard_state": True})],
)
def test_the_step_compiles_once_and_uses_up_its_state(tiny, name, options, monkeypatch):
    monkeypatch.setattr("drivenmorph_jax.training.mesh._SMALL", 1)
    made = backend(tiny, name, **options)
    first, batches = made.place_state(tiny.new_state()), tiny.Batches()
    compilations = []

    def listen(event: str, *_: object, **__: object) -> None:
        if "compile" in event:
            compilations.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state, _ = made.step(first, made.place_batch(next(batches)))
        assert first.params["w"].is_deleted()
        assert compilations
        compilations.clear()
        for _ in range(3):
            state, _ = made.step(state, made.place_batch(next(batches)))
        assert compilations == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_batch_that_does_not_divide_is_refused(tiny):
    with pytest.raises(InputError, match=r"training.batch is 3.*8 devices"):
        backend(tiny, "pmap", batch=3)


def test_devices_that_do_not_divide_are_refused(tiny):
    with pytest.raises(InputError, match=r"training.space is 3.*8 devices"):
        backend(tiny, "mesh", space=3)
    with pytest.raises(InputError, match=r"training.batch is 3.*4 groups of 2 devices"):
        backend(tiny, "auto", batch=3, space=2)
    with pytest.raises(InputError, match=r"training.space is 2.*backend is pmap"):
        TrainingConfig(backend="pmap", space=2)
    with pytest.raises(InputError, match=r"training.shard_state is True.*backend is single"):
        TrainingConfig(backend="single", shard_state=True)
    with pytest.raises(InputError, match=r"\(4, 6, 4\) voxels.*multiple of 4"):
        backend(tiny, "mesh", space=2).place_batch({"fixed": np.zeros((4, 4, 6, 4, 1))})


def test_each_device_holds_its_share_of_state_and_batch(tiny, monkeypatch):
    monkeypatch.setattr("drivenmorph_jax.training.mesh._SMALL", 1)
    made = backend(tiny, "mesh", space=2, shard_state=True)
    big = tiny.new_state()._replace(params={"w": np.zeros((3, 8)), "b": np.zeros(3)})
    placed = made.place_state(big).params
    assert placed["w"].addressable_shards[0].data.shape == (3, 2)
    assert placed["b"].addressable_shards[0].data.shape == (3,)
    assert made.gather(placed)["w"].addressable_shards[0].data.shape == (3, 8)
    batch = made.place_batch({"fixed": np.zeros((8, 5, 12, 4, 1))})
    assert batch["fixed"].addressable_shards[0].data.shape == (2, 5, 6, 4, 1)


def test_a_checkpoint_goes_from_one_way_of_splitting_to_another(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("drivenmorph_jax.training.mesh._SMALL", 1)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    ways = [("mesh", {"shard_state": True, "space": 4}), ("mesh", {"space": 2}), ("single", {})]
    for step, (name, options) in enumerate([*ways, ways[0]], 1):
        made = backend(tiny, name, **options)
        state = made.place_state(tiny.new_state())
        if step > 1:
            restored = checkpoints.restore(state).state
            tiny.assert_trees_equal(restored, state)
            for leaf, like in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
                assert leaf.sharding == like.sharding
        checkpoints.save(step, state, progress={}, config={})
    checkpoints.close()
