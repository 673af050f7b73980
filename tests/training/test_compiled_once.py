"""After its first step a run compiles nothing, copies nothing unasked, and keeps no old state."""

import chex
import jax
import jax.numpy as jnp
import pytest

from drivenmorph_jax.training import parallel
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.logging import PlainReporter
from drivenmorph_jax.training.loop import train_loop
from drivenmorph_jax.training.optimiser import make_optimiser
from drivenmorph_jax.training.settings import TrainingConfig

BACKENDS = ["single", "pmap", "mesh"]


@pytest.fixture
def run(tmp_path, tiny, monkeypatch):
    """The real loop, its step and evaluation allowed one trace; gives the final state."""
    make_step = parallel.make_step

    def traced_once(*arguments, **settings):
        return chex.assert_max_traces(make_step(*arguments, **settings), n=1)

    monkeypatch.setattr(parallel, "make_step", traced_once)

    def run(name, steps, *, batches=None, wrap=lambda made: made, resume=False, evaluate_every=2):
        chex.clear_trace_counter()  # it knows functions by their source
        cfg = TrainingConfig(steps=steps, batch=8, log_every=1, evaluate_every=evaluate_every)
        optimiser = make_optimiser(tiny.OPTIMISER, 8)
        backend = wrap(parallel.make_backend(name, tiny.loss_fn, optimiser, batch=8, ema_decay=0.9))
        state = backend.place_state(tiny.new_state())
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        batches = batches or tiny.Batches()
        if resume:
            restored = checkpoints.restore(state)
            state, batches.position = restored.state, restored.progress["loader"]["position"]
        measure = jax.jit(chex.assert_max_traces(lambda params: jnp.sum(params["w"] ** 2), n=1))
        try:
            return train_loop(
                state,
                backend=backend,
                batches=batches,
                checkpoints=checkpoints,
                cfg=cfg,
                config_document={},
                metric_log=None,
                reporter=PlainReporter(steps),
                evaluate=lambda params: {"dice": measure(params)},
            ).state
        finally:
            checkpoints.close()

    return run


@pytest.mark.parametrize("name", BACKENDS)
def test_nothing_compiles_after_the_first_round(name, run, tiny, tmp_path):
    batches = tiny.Batches()
    compiled_at = []

    def listen(event: str, *_: object, **__: object) -> None:
        if event.endswith("backend_compile_duration"):
            compiled_at.append(batches.position)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run(name, 5, batches=batches)
        # Step 2 is the first that is evaluated and saved.
        assert compiled_at and max(compiled_at) <= 2
        compiled_at.clear()
        batches.position = 0
        assert int(run(name, 9, batches=batches, resume=True).step) == 9
        assert compiled_at and max(compiled_at) <= 6
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_state_given_is_used_up(name, run):
    given = []

    def remember(backend):
        def step(state, batch):
            given.append(state._replace(key=None))  # the key never changes: it is passed on
            return backend.step(state, batch)

        return backend._replace(step=step)

    # Without a save on the way: on CPU one may still hold a view of what it writes.
    last = run(name, 3, wrap=remember, evaluate_every=0)
    assert len(given) == 3
    assert all(leaf.is_deleted() for state in given for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(last))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_copy_that_nobody_asked_for_is_refused(name, run):
    """Host arrays given to a compiled step are copied behind one's back."""
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        run(name, 3, wrap=lambda backend: backend._replace(place_batch=backend_shape(name)))


def backend_shape(name):
    """The batch in the shape the backend wants, left on the host."""
    if name == "pmap":
        return lambda batch: jax.tree.map(lambda leaf: leaf.reshape(8, 1, *leaf.shape[1:]), batch)
    return lambda batch: batch
