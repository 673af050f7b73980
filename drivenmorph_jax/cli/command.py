"""The command `drivenmorph`: its subcommands, its signals, its exit codes."""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from drivenmorph_jax.cli import (
    apply,
    atlas,
    batch,
    compose,
    convert,
    explain,
    export,
    invert,
    jacobian,
    register,
)
from drivenmorph_jax.cli.terminal import NAME, fail, show_warnings
from drivenmorph_jax.errors import plain_reason

# In the order of --help. Each module has `add(commands)`, which sets the function to run.
_COMMANDS = (register, batch, atlas, explain, apply, invert, compose, jacobian, convert, export)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 a batch's pair failed, 2 unusable input, 128 + n ended by signal n."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    show_warnings()
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        return options.run(options, shlex.join([NAME, *given]))
    except KeyboardInterrupt:
        return fail("interrupted, nothing is written", code=128 + signal.SIGINT)
    except Exception as error:
        reason = plain_reason(error)
        if reason is None:
            raise
        return fail(reason)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=NAME,
        description="Deformable registration of brain images.",
        epilog=f"Options of a command: {NAME} COMMAND --help",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Errors on one line, like all others; subcommands' parsers are of this class too."""

    def error(self, message: str) -> NoReturn:
        self.exit(fail(f"{message} (see {self.prog} --help)"))


def _end(number: int, _: Any) -> NoReturn:
    """A normal exit, by which the unfinished output is removed."""
    raise SystemExit(128 + number)
