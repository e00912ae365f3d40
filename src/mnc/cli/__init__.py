"""The command line: which commands there are, and what an error means to the shell.

The commands are imported when they are run, so that `mnc --help` needs none of their libraries.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from mnc import __version__
from mnc.errors import ConfigError, MncError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["main", "run"]

_EXIT_FAILURE = 1
_EXIT_CONFIG = 2
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it

_COMMANDS = {
    "up": "Try it: real servers on this machine, sample changes, a live view.",
    "serve": "Run the connector, with settings from the environment.",
    "config": "Show the settings in force, and where each came from.",
    "check": "Check the settings and both servers, and say what to do.",
    "tail": "Follow the events in the stream.",
    "status": "Show what an instance does, and its cluster.",
    "migrate": "Take over the positions of an earlier connector.",
    "snapshot": "Have the documents that collections have now published.",
}

_FIRST_STEPS = [
    ("mnc up --demo", "see it work, with nothing set and no server running"),
    ("mnc serve --help", "read what can be set"),
    ("mnc check", "try your settings on your servers"),
    ("mnc serve", "run it"),
    ("mnc status", "see what it does"),
]

_EXIT_CODES = [
    ("0", "ended as asked"),
    (str(_EXIT_FAILURE), "failed; the last line says why"),
    (str(_EXIT_CONFIG), "a setting or an argument is wrong"),
    (str(_EXIT_INTERRUPTED), "interrupted"),
]


class _Commands(click.Group):
    """A group whose commands are modules of this package, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"mnc.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click's signature
        with formatter.section("First steps"):
            formatter.write_dl(_FIRST_STEPS)
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


@click.group(cls=_Commands)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Keep a NATS JetStream stream in step with MongoDB collections.

    Every change of the watched collections is stored in the stream: completely, once, in order.
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    `args` are those after the program's name; None takes the process's own. Errors that mnc raises
    on purpose become one line each on standard error; any other error passes, with its traceback.
    """
    try:
        result = main.main(args, prog_name="mnc", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BaseException as error:
        code = _explain(list(_leaves(error)))
        if code is None:
            raise
        return code
    return result if isinstance(result, int) else 0


def _explain(errors: list[BaseException]) -> int | None:
    """Tell the user what ended the command; return its exit code, or None if that is a bug."""
    interrupts = [e for e in errors if isinstance(e, KeyboardInterrupt | click.Abort)]
    expected = [e for e in errors if isinstance(e, MncError)]
    pipes = [e for e in errors if isinstance(e, BrokenPipeError)]
    if len(interrupts) + len(expected) + len(pipes) < len(errors):
        return None
    for line in dict.fromkeys(line for error in expected for line in str(error).splitlines()):
        click.echo(f"mnc: {line}", err=True)
    if interrupts:
        return _EXIT_INTERRUPTED
    if expected:
        return _EXIT_CONFIG if any(isinstance(e, ConfigError) for e in expected) else _EXIT_FAILURE
    _discard_stdout()
    return _EXIT_FAILURE


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Take exception groups, such as a nursery raises, apart."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _discard_stdout() -> None:
    """Let the interpreter's last flush succeed although nobody reads standard output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
