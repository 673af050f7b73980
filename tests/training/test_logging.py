import io
import json
import struct

import numpy as np
from PIL import Image
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from drivenmorph_jax.training.logging import BarReporter, MetricLog, duration


def test_durations_read_as_a_person_says_them():
    assert [duration(s) for s in (41.6, 185, 7620, float("nan"))] == [
        "42 s",
        "3 min 5 s",
        "2 h 7 min",
        "?",
    ]


def test_a_line_cut_off_by_a_crash_is_dropped_and_nan_is_null(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    log = MetricLog(tmp_path, first_step=1, tensorboard=True)
    log.write(2, {"loss": 0.5, "bad": float("nan")})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[1]["loss"] == 0.5
    assert lines[1]["bad"] is None
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_bar_shows_rate_and_time_left():
    text = io.StringIO()
    bar = BarReporter(10, 0, Console(file=text, force_terminal=True, width=100))
    bar.advance(5, {"loss": 0.25, "seconds_per_step": 2.0}, 10.0)
    bar.note("[evaluation] at step 5")
    bar.close()
    assert "5/10" in text.getvalue()
    assert "loss 0.2500  2 s/step  10 s left" in text.getvalue()
    assert "[evaluation] at step 5" in text.getvalue()


def events(folder):
    """What TensorBoard reads: records of length, checksum, event, checksum."""
    for path in folder.glob("*tfevents*"):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            yield Event.FromString(content[place + 12 : place + 12 + length])
            place += length + 16


def test_pictures_are_in_tensorboard_as_they_were_given(tmp_path):
    picture = np.arange(48, dtype=np.uint8).reshape(6, 8)
    log = MetricLog(tmp_path, first_step=0, tensorboard=True)
    log.show(3, {"evaluation/warped": picture})
    log.close()
    values = [(e.step, v) for e in events(tmp_path / "tensorboard") for v in e.summary.value]
    ((step, value),) = values
    assert (step, value.tag) == (3, "evaluation/warped")
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as found:
        shown = np.asarray(found.convert("L"))
    np.testing.assert_array_equal(shown, picture)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_pictures_go_nowhere_without_tensorboard(tmp_path):
    log = MetricLog(tmp_path, first_step=0, tensorboard=False)
    log.show(3, {"evaluation/warped": np.zeros((2, 2), np.uint8)})
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
