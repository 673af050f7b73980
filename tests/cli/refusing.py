"""A command that must refuse."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivenmorph_jax import cli


def refused(capsys: Any, arguments: Sequence[Any], output: Path | None = None) -> str:
    """Run the command; it must end with code 2, one line, and nothing written. The line."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = ended.code
    streams = capsys.readouterr()
    assert code == 2
    lines = streams.err.splitlines()
    assert len(lines) == 1, streams.err
    assert lines[0].startswith("drivenmorph: error: ")
    assert "Traceback" not in streams.out + streams.err
    if output is not None:
        assert not output.exists()
        assert not list(output.parent.glob(".drivenmorph*"))
    return lines[0]
