import shutil

import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.checkpoint import Checkpoints, load_parameters


@pytest.fixture
def saved(tmp_path, tiny):
    """A folder with checkpoints 2 (the best), 4 and 5, out of 1 to 5."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    state = tiny.new_state()
    dice = {2: 0.7, 3: float("nan"), 4: 0.6}
    for step in range(1, 6):
        checkpoints.save(
            step,
            state._replace(step=state.step + step),
            progress={"loader": {"position": step}},
            config={"model": {"levels": 3}},
        )
        if step in dice:
            checkpoints.record_score(step, dice[step])
    checkpoints.close()
    return tmp_path / "checkpoints"


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.is_dir())


def truncate(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_last_ones_and_the_best_are_kept(saved):
    assert steps_in(saved) == [2, 4, 5]
    checkpoints = Checkpoints(saved, keep=2)
    assert (checkpoints.best_step(), checkpoints.latest_step()) == (2, 5)


def test_all_comes_back_bit_for_bit(saved, tiny):
    restored = Checkpoints(saved).restore(tiny.new_state())
    state = tiny.new_state()
    tiny.assert_trees_equal(restored.state, state._replace(step=state.step + 5))
    assert restored.progress["loader"] == {"position": 5}
    assert restored.config == {"model": {"levels": 3}}


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(saved, tiny):
    truncate(saved / "5" / "state")
    said = []
    checkpoints = Checkpoints(saved, keep=2)
    restored = checkpoints.restore(tiny.new_state(), say=said.append)
    assert int(restored.state.step) == 4
    assert len(said) == 1
    assert str(saved / "5") in said[0]
    assert (saved.parent / "unreadable" / "5").is_dir()
    checkpoints.save(5, restored.state, progress={}, config={})
    checkpoints.close()
    assert steps_in(saved) == [2, 4, 5]


def test_when_none_can_be_read_the_error_says_so_and_nothing_is_moved(saved, tiny):
    for step in (2, 4, 5):
        shutil.rmtree(saved / str(step) / "state")
    with pytest.raises(InputError, match="none of the checkpoints"):
        Checkpoints(saved).restore(tiny.new_state(), say=lambda text: None)
    assert steps_in(saved) == [2, 4, 5]


def test_an_empty_folder_is_an_input_error(tmp_path, tiny):
    with pytest.raises(InputError, match="no checkpoint in"):
        Checkpoints(tmp_path / "none").restore(tiny.new_state())


@pytest.mark.parametrize(("which", "step"), [("best", 2), ("latest", 5), (4, 4)])
def test_parameters_load_without_knowing_the_model(saved, tiny, which, step):
    loaded = load_parameters(saved.parent, which)
    assert loaded.step == step
    assert loaded.config == {"model": {"levels": 3}}
    tiny.assert_trees_equal(loaded.params, tiny.new_state().ema_params)


def test_parameters_of_a_folder_without_checkpoints_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        load_parameters(tmp_path)
