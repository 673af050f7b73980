import json
import os
import pathlib
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.logging import MetricLog, PlainReporter
from drivenmorph_jax.training.loop import TrainingError, train_loop
from drivenmorph_jax.training.optimiser import make_optimiser
from drivenmorph_jax.training.parallel import make_backend
from drivenmorph_jax.training.settings import TrainingConfig


@pytest.fixture
def run(tmp_path, tiny):
    """Run the loop in tmp_path up to `stop_at` of `steps` (a resume continues from the folder)."""

    def run(steps, *, resume=False, loss_fn=tiny.loss_fn, batches=None, evaluate=None, **settings):
        cfg = TrainingConfig(steps=steps, batch=8, log_every=2, **settings)
        optimiser = make_optimiser(tiny.OPTIMISER, 6)
        backend = make_backend("single", loss_fn, optimiser, batch=8, ema_decay=0.9)
        checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
        state = backend.place_state(tiny.new_state())
        batches = batches or tiny.Batches()
        if resume:
            restored = checkpoints.restore(state)
            state, batches.position = restored.state, restored.progress["loader"]["position"]
        log = MetricLog(tmp_path, first_step=int(state.step), tensorboard=False)
        try:
            return train_loop(
                state,
                backend=backend,
                batches=batches,
                checkpoints=checkpoints,
                cfg=cfg,
                config_document={},
                metric_log=log,
                reporter=PlainReporter(steps),
                evaluate=evaluate,
            )
        finally:
            log.close()
            checkpoints.close()

    return run


def records(folder: pathlib.Path):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_six_steps_are_three_and_three_resumed_bit_for_bit(run, tiny, tmp_path):
    whole = run(6, checkpoint_every=3).state
    for path in (tmp_path / "checkpoints").glob("6"):
        path.rename(tmp_path / "elsewhere")
    resumed = run(6, resume=True).state
    assert int(resumed.step) == 6
    tiny.assert_trees_equal(whole, resumed)


def test_what_is_logged_appears_once_each_step_after_a_resume(run, tmp_path, capsys):
    run(4, checkpoint_every=2)
    (tmp_path / "checkpoints" / "4").rename(tmp_path / "elsewhere")
    run(6, resume=True)
    logged = records(tmp_path)
    assert [record["step"] for record in logged] == [2, 4, 6]
    assert {"loss", "error", "gradient_norm", "seconds", "time"} <= logged[0].keys()
    assert "step 6/6  loss" in capsys.readouterr().out


def test_the_best_evaluation_names_the_best_checkpoint(run, tmp_path):
    dice = iter([0.5, 0.8, 0.6])
    run(6, evaluate_every=2, evaluate=lambda params: {"dice": next(dice), "folding": 0.0})
    assert Checkpoints(tmp_path / "checkpoints").best_step() == 4
    evaluations = [r for r in records(tmp_path) if "evaluation/dice" in r]
    assert [record["evaluation/dice"] for record in evaluations] == [0.5, 0.8, 0.6]


def test_pictures_of_an_evaluation_are_shown_and_its_numbers_logged(run, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(MetricLog, "show", lambda self, *shows: shown.append(shows))
    picture = np.zeros((2, 3), np.uint8)
    run(4, evaluate_every=2, evaluate=lambda params: {"dice": 0.5, "warped": picture})
    assert [(step, list(pictures)) for step, pictures in shown] == [
        (2, ["evaluation/warped"]),
        (4, ["evaluation/warped"]),
    ]
    assert [r["evaluation/dice"] for r in records(tmp_path) if "evaluation/dice" in r] == [0.5] * 2


def test_a_best_metric_that_evaluation_does_not_give_is_an_input_error(run, tmp_path):
    with pytest.raises(InputError, match=r"training.best_metric is 'dice'.*gives loss"):
        run(2, evaluate_every=2, evaluate=lambda params: {"loss": 1.0})
    assert Checkpoints(tmp_path / "checkpoints").latest_step() == 2


def test_a_value_that_is_not_finite_stops_the_run_and_is_never_saved(run, tiny, tmp_path):
    def breaks(params, batch, keys):
        loss, terms = tiny.loss_fn(params, batch, keys)
        return jnp.where(jnp.abs(batch["x"]).max() > 100, jnp.nan, loss), terms

    class Poisoned(tiny.Batches):
        def __next__(self):
            batch = super().__next__()
            return batch | {"x": batch["x"] + 1e3} if self.position == 5 else batch

    with pytest.raises(TrainingError, match=r"loss.* not finite at step 5; .*checkpoints/3"):
        run(6, loss_fn=breaks, batches=Poisoned(), checkpoint_every=3)
    assert Checkpoints(tmp_path / "checkpoints").latest_step() == 3


def test_a_signal_saves_and_ends_and_the_resumed_run_is_the_same(run, tiny, tmp_path):
    whole = run(6).state
    (tmp_path / "checkpoints").rename(tmp_path / "elsewhere")

    class Slow(tiny.Batches):
        def __next__(self):
            if self.position == 3:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.01)
            return super().__next__()

    stopped = run(6, batches=Slow())
    assert stopped.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert Checkpoints(tmp_path / "checkpoints").latest_step() == int(stopped.state.step) == 4
    tiny.assert_trees_equal(whole, run(6, resume=True).state)


def test_the_time_spent_waiting_for_data_is_measured_and_said(run, tiny, tmp_path, capsys):
    class Slow(tiny.Batches):
        def __next__(self):
            time.sleep(0.1)
            return super().__next__()

    run(6, batches=Slow())
    assert 0.5 < records(tmp_path)[-1]["waiting_share"] <= 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "waited for data" in line]
    share = float(line.split("waited for data ")[1].split(" %")[0])
    assert 50 < share <= 100
    run(12, resume=True)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "waited for data" in line]
    assert float(line.split("waited for data ")[1].split(" %")[0]) < share


def test_the_loop_runs_outside_the_main_thread(run):
    ends = []
    thread = threading.Thread(target=lambda: ends.append(run(2)))
    thread.start()
    thread.join()
    assert int(ends[0].state.step) == 2


def test_a_save_is_not_changed_by_the_steps_that_follow(run, tiny, tmp_path):
    # The state is donated while the checkpoint is still being written.
    run(6, checkpoint_every=1)
    restored = Checkpoints(tmp_path / "checkpoints").restore(tiny.new_state()).state
    assert int(restored.step) == 6
    (tmp_path / "checkpoints" / "6").rename(tmp_path / "six")
    tiny.assert_trees_equal(restored, run(6, resume=True).state)
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.all(leaf == leaf)), restored.params))
