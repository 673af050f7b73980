"""TensorBoard's event files, written by the thread that has something to say.

The package writes them in a thread of its own, which a full disk kills; the next few values then
block the run for ever. Here they raise OSError where they are added.
"""

import pathlib

from tensorboardX import SummaryWriter
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import (  # made at run time: pyright cannot see them
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboardX.writer import FileWriter


class EventWriter(SummaryWriter):
    """A `SummaryWriter` without a thread.

    Args:
        folder: made if absent.
        purge_step: what an interrupted run left from this step on is hidden.
    """

    def __init__(self, folder: pathlib.Path, *, purge_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(str(folder), purge_step=purge_step)

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = _FileWriter(self.logdir)
            self.all_writers = {self.logdir: self.file_writer}
            session = SessionLog(status=SessionLog.START)
            self.file_writer.add_event(Event(session_log=session), step=self.purge_step)
        return self.file_writer


class _FileWriter(FileWriter):
    def __init__(self, folder: str) -> None:
        # Not the base's, which starts the thread.
        self.event_writer = _Events(folder)
        self._default_metadata = {}


class _Events:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._writer = EventsWriter(str(pathlib.Path(folder) / "events"))

    def get_logdir(self) -> str:
        return self._folder

    def add_event(self, event: Event) -> None:
        self._writer.write_event(event)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
