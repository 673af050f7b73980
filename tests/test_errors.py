"""What is no fault of the program is told in one line, and what may be one is not hidden."""

import jax.numpy as jnp
import pytest

from drivenmorph_jax.errors import InputError, plain_reason
from drivenmorph_jax.paths import user_path


def test_a_device_without_room_is_told_with_the_mend():
    with pytest.raises(RuntimeError) as caught:
        jnp.ones((1 << 50,)).block_until_ready()
    assert plain_reason(caught.value, memory="do less") == (
        "not enough memory: do less, or use a machine with more"
    )


def test_a_file_that_the_system_refuses_is_named(tmp_path):
    with pytest.raises(OSError) as caught:
        (tmp_path / ("a" * 300)).read_text()
    reason = plain_reason(caught.value)
    assert reason is not None and str(tmp_path) in reason and reason.endswith("permissions")


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("no name"), ValueError("RESOU")])
def test_what_may_be_a_fault_has_no_plain_reason(error):
    assert plain_reason(error) is None


def test_a_home_that_nobody_has_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a") == tmp_path / "a"
    with pytest.raises(InputError, match=r"~nobody-here/a: there is no such user"):
        user_path("~nobody-here/a")
