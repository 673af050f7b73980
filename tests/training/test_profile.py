import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from drivenmorph_jax.errors import InputError
from drivenmorph_jax.training.profile import StepProfile, choose_steps


def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path):
    step = jax.jit(lambda x: jnp.tanh(x @ x))
    x = step(jnp.ones((64, 64)))
    profile = StepProfile(tmp_path, 2, 3)
    written = []
    for number in range(1, 6):
        profile.begin(number)
        x = step(x)
        written.append(profile.end(number, x))
    profile.close()
    assert written == [False, False, True, False, False]
    (folder,) = (tmp_path / "profile" / "plugins" / "profile").iterdir()
    # What Perfetto opens: one event a step, with its number, among many.
    (trace,) = folder.glob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    steps = [event for event in events if event.get("name") == "step"]
    assert sorted(int(event["args"]["step_num"]) for event in steps) == [2, 3]
    # What TensorBoard's profiler opens: a protocol buffer of planes.
    (planes,) = folder.glob("*.xplane.pb")
    names = [plane.name for plane in jax.profiler.ProfileData.from_file(str(planes)).planes]
    assert any("CPU" in name for name in names)


def test_an_interrupted_trace_is_written(tmp_path):
    profile = StepProfile(tmp_path, 1, 9)
    profile.begin(1)
    profile.end(1, jnp.ones(3) + 1)
    profile.close()
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("wanted", "after", "steps", "chosen"),
    [("", 0, 100, (3, 5)), ("", 50, 100, (53, 55)), ("", 0, 4, (3, 4)), ("7:7", 5, 9, (7, 7))],
)
def test_steps_are_those_wanted_or_a_few_after_compilation(wanted, after, steps, chosen):
    assert choose_steps(wanted, after, steps) == chosen


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("5", "give FIRST:LAST"),
        ("a:b", "give FIRST:LAST"),
        ("-1:4", "give FIRST:LAST"),
        ("4:3", "steps 3 to 9"),
        ("2:3", "steps 3 to 9"),
        ("8:10", "steps 3 to 9"),
    ],
)
def test_other_steps_are_refused(wanted, message):
    with pytest.raises(InputError, match=message):
        choose_steps(wanted, 2, 9)
