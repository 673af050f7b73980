"""What a broken disk can do to a run: damaged checkpoints, and none that can be written."""

import contextlib
import gc
import json
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.checkpoint import Checkpoints, load_parameters
from drivenmorph_jax.training.checksum import checksum
from drivenmorph_jax.training.logging import MetricLog
from drivenmorph_jax.training.optimiser import make_optimiser
from drivenmorph_jax.training.state import create_state

# Orbax leaves a coroutine behind where reading fails: see `settle`.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = {"model": {"levels": 3}}


@pytest.fixture(autouse=True)
def settle():
    """Garbage is collected here, where what it says is expected, not in a later test."""
    yield
    gc.collect()


@pytest.fixture
def state(tiny):
    """A state of some 400 kB that does not compress."""
    params = {"w": jax.random.normal(jax.random.key(1), (100, 1000)), "b": jnp.ones(3)}
    return create_state(jax.random.key(7), params, make_optimiser(tiny.OPTIMISER, 6))


def save(folder, state, steps):
    checkpoints = Checkpoints(folder, keep=2)
    for step in steps:
        moved = state._replace(step=jnp.asarray(step, jnp.int32))
        checkpoints.save(step, moved, progress={"seconds": 1.5, "step": step}, config=CONFIG)
    checkpoints.close()


@contextlib.contextmanager
def files_no_larger_than(size):
    """What a full disk does to a write, from the system itself: OSError wherever it is made."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate_arrays(step):
    path = largest_file(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(step):
    path = largest_file(step)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(bytes(content))


def truncate_json(step):
    path = step / "progress" / "metadata"
    path.write_text(path.read_text()[:-3])


def change_json(step):
    path = step / "progress" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 2.5}))


DAMAGE = {
    "truncated arrays": truncate_arrays,
    "one bit of the arrays": flip_a_bit,
    "arrays missing": lambda step: largest_file(step).unlink(),
    "state missing": lambda step: shutil.rmtree(step / "state"),
    "truncated progress": truncate_json,
    "changed progress": change_json,
    "progress missing": lambda step: shutil.rmtree(step / "progress"),
    "config missing": lambda step: (step / "config" / "metadata").unlink(),
    "empty folder": lambda step: [
        shutil.rmtree(p) if p.is_dir() else p.unlink() for p in step.iterdir()
    ],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_and_the_checkpoint_before_is_used(tmp_path, state, damage):
    folder = tmp_path / "checkpoints"
    save(folder, state, [3, 4])
    DAMAGE[damage](folder / "4")
    with pytest.raises(InputError, match=r"checkpoint .*/4 cannot be read \(.*choose another"):
        load_parameters(folder, 4)
    said = []
    checkpoints = Checkpoints(folder, keep=2)
    restored = checkpoints.restore(state, say=said.append)
    assert int(restored.state.step) == 3 and restored.progress == {"seconds": 1.5, "step": 3}
    (line,) = said
    assert line.startswith(f"checkpoint {folder / '4'} cannot be read (")
    assert len(line.splitlines()) == 1
    # The run goes on, over the step that was lost.
    checkpoints.save(4, restored.state, progress={}, config={})
    checkpoints.close()
    assert Checkpoints(folder).restore(state, say=said.append).progress == {}
    assert len(said) == 1


def test_damage_everywhere_is_one_clear_error(tmp_path, state):
    folder = tmp_path / "checkpoints"
    save(folder, state, [3, 4])
    flip_a_bit(folder / "3")
    truncate_json(folder / "4")
    said = []
    with pytest.raises(InputError, match="none of the checkpoints") as caught:
        Checkpoints(folder).restore(state, say=said.append)
    assert len(str(caught.value).splitlines()) == 1
    assert [str(folder / name) in line for name, line in zip("43", said, strict=True)] == [True] * 2


def test_a_save_that_was_broken_off_is_named_and_gone(tmp_path, state):
    folder = tmp_path / "checkpoints"
    save(folder, state, [3])
    shutil.copytree(folder / "3", folder / "4.orbax-checkpoint-tmp")
    said = []
    restored = Checkpoints(folder).restore(state, say=said.append)
    assert int(restored.state.step) == 3
    assert said == [f"checkpoint {folder / '4'} was not finished when the run ended: removed"]
    assert not (folder / "4.orbax-checkpoint-tmp").exists()


def test_a_save_without_room_is_one_line_and_the_one_before_stays(tmp_path, state, capfd):
    folder = tmp_path / "checkpoints"
    save(folder, state, [3])
    checkpoints = Checkpoints(folder)
    with files_no_larger_than(100_000):
        with pytest.raises(InputError, match=r"checkpoint .*/4 cannot be written") as caught:
            # Written in the background: the failure shows here or when the run waits for it.
            checkpoints.save(4, state, progress={}, config={})
            checkpoints.wait()
        # As by a thread that is late to hear of it.
        (folder / "4.orbax-checkpoint-tmp" / "state").mkdir(parents=True, exist_ok=True)
        checkpoints.close()
    assert "(File too large)" in str(caught.value)
    assert f"{folder / '3'} is whole" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "Traceback" not in "".join(capfd.readouterr())
    assert [path.name for path in folder.iterdir()] == ["3"]
    assert int(Checkpoints(folder).restore(state).state.step) == 3


def test_the_next_save_tells_that_the_last_one_failed(tmp_path, state):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with (
        files_no_larger_than(100_000),
        pytest.raises(InputError, match=r"/1 cannot be written .* there is none before it"),
    ):
        for step in (1, 2):
            checkpoints.save(step, state, progress={}, config={})


@pytest.mark.parametrize("tensorboard", [False, True])
def test_metrics_without_room_are_one_line(tmp_path, tensorboard):
    log = MetricLog(tmp_path, first_step=0, tensorboard=tensorboard)
    log.write(1, {"loss": 1.0})
    with files_no_larger_than(largest_file(tmp_path).stat().st_size + 20):
        with pytest.raises(InputError, match=r"metrics .*metrics.jsonl cannot be written \(File"):
            # Twenty values: as many as would fill the queue of TensorBoard's own thread.
            for step in range(2, 6):
                log.write(step, {f"value_{i}": 1.0 for i in range(20)})
        log.close()
    records = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(records[0])["loss"] == 1.0
    MetricLog(tmp_path, first_step=1, tensorboard=tensorboard).close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_checksum_is_that_of_the_bits_wherever_they_lie(state):
    plain = checksum(state)
    mesh = jax.make_mesh((8,), ("x",), (jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    spread = state._replace(params=state.params | {"w": jax.device_put(state.params["w"], rows)})
    assert checksum(spread) == plain
    assert checksum(state, {"a": 1}) != plain != checksum(state._replace(key=jax.random.key(8)))
    rng = np.random.default_rng(0)
    for kind in (np.float32, np.float16, np.int32, np.bool_, jnp.bfloat16):
        values = rng.integers(0, 2, (3, 5, 7)).astype(kind)
        other = values.copy()
        index = tuple(rng.integers(values.shape))
        other[index] = 1 - other[index]
        swapped = values[::-1].copy()
        assert len({checksum(jnp.asarray(x)) for x in (values, other, swapped)}) == 3
