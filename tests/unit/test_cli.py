"""The command line's shell: help, errors, and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import click
import pytest

from mnc import __version__
from mnc.cli import run
from mnc.cli.settings import SettingsCommand
from mnc.config import setting_rows
from mnc.errors import ConfigError, SinkUnavailableError, SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_COMMANDS = ["up", "serve", "config", "check", "tail", "status", "migrate", "snapshot"]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that puts another function in the place of `mnc serve`."""

    def replace(callback: Callable[[], object]) -> None:
        module = ModuleType("mnc.cli.serve")
        vars(module)["serve"] = click.command("serve")(callback)
        monkeypatch.setitem(sys.modules, "mnc.cli.serve", module)

    return replace


def _raises(error: BaseException) -> Callable[[], None]:
    def callback() -> None:
        raise error

    return callback


def test_help_teaches_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """`mnc --help` says what it is, how to begin, the commands, and the exit codes."""
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for word in (*_COMMANDS, "JetStream", "mnc up --demo", "Exit codes", "130"):
        assert word in out


def test_help_needs_no_client_library() -> None:
    """`mnc --help` answers at once because it imports no command and no client library."""
    script = (
        "import sys; from mnc.cli import run; code = run(['--help']);"
        "slow = {'trio', 'pymongo', 'nats', 'pydantic', 'rich'} & sys.modules.keys();"
        "sys.exit(str(slow) if slow else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.stderr == b""
    assert done.returncode == 0


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_of_the_table_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each name in the table is a command that can be imported and has help."""
    assert run([name, "--help"]) == 0
    assert f"mnc {name}" in capsys.readouterr().out


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`mnc --version` prints one line with the package's version."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"mnc {__version__}\n"


@pytest.mark.parametrize("args", [["srve"], ["--bogus"], [], ["migrate", "--tokens", "x."]])
def test_wrong_usage_is_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command or option ends with 2 and a hint, on standard error only."""
    assert run(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--help" in captured.err


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (ConfigError("HTTP_PORT", "found 'x'"), 2, ["mnc: HTTP_PORT: found 'x'"]),
        (ConfigError("A", "x\nB: y"), 2, ["mnc: A: x", "mnc: B: y"]),
        (
            SourceUnavailableError("no primary", remedy="start it"),
            1,
            ["mnc: no primary; start it"],
        ),
        (
            ExceptionGroup(
                "nursery",
                [
                    SinkUnavailableError("no NATS"),
                    ExceptionGroup("", [ConfigError("A", "x"), SinkUnavailableError("no NATS")]),
                ],
            ),
            2,
            ["mnc: no NATS", "mnc: A: x"],
        ),
        (ExceptionGroup("", [SinkUnavailableError("no NATS")]), 1, ["mnc: no NATS"]),
        (click.ClickException("no"), 1, ["Error: no"]),
        (click.exceptions.Exit(3), 3, []),
    ],
)
def test_an_expected_error_is_one_line(
    serve: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    lines: list[str],
) -> None:
    """Errors that mnc raises on purpose, also in groups, become a line each and an exit code."""
    serve(_raises(error))
    assert run(["serve"]) == code
    captured = capsys.readouterr()
    assert captured.err.splitlines() == lines
    assert captured.out == ""


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        BaseExceptionGroup("", [KeyboardInterrupt()]),
        BaseExceptionGroup("", [KeyboardInterrupt(), SinkUnavailableError("no NATS")]),
    ],
)
def test_an_interrupt_is_130(
    serve: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    """Ctrl-C ends a command with 130 and without a traceback, also out of a nursery."""
    serve(_raises(error))
    assert run(["serve"]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("bug"), ExceptionGroup("", [RuntimeError(), ConfigError("A", "x")])]
)
def test_a_bug_keeps_its_traceback(
    serve: Callable[[Callable[[], object]], None], error: Exception
) -> None:
    """An error that nobody expected passes as it is, also beside expected ones."""
    serve(_raises(error))
    with pytest.raises(type(error)) as caught:
        run(["serve"])
    assert caught.value is error


def test_a_command_chooses_its_exit_code(
    serve: Callable[[Callable[[], object]], None],
) -> None:
    """What a command returns is the exit code when it is a number, as for `mnc check`."""
    serve(lambda: 1)
    assert run(["serve"]) == 1
    serve(lambda: None)
    assert run(["serve"]) == 0


@pytest.mark.parametrize(
    "ending",
    [
        "click.echo('x' * 100_000)",
        "print('short')",
        "raise ExceptionGroup('', [BrokenPipeError()])",
    ],
)
def test_a_closed_pipe_ends_in_silence(ending: str) -> None:
    """`mnc tail | head` ends without a message when the reader has gone."""
    script = (
        "import sys, types, click; from mnc.cli import run\n"
        "def serve():\n"
        f"    {ending}\n"
        "module = types.ModuleType('serve')\n"
        "module.serve = click.command('serve')(serve)\n"
        "sys.modules['mnc.cli.serve'] = module\n"
        "sys.exit(run(['serve']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 1


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that reads settings lists all of them, with their defaults, in its help."""
    command = SettingsCommand("serve", help="Run.")
    command.main(["--help"], standalone_mode=False)
    words = capsys.readouterr().out.split()
    for row in setting_rows():
        assert row.name in words
        assert f"{row.default}]" in words or (row.default is None and "[required]" in words)
    assert "MNC_CONFIG" in words


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Return a function that sets the environment for a command."""

    def replace(environ: dict[str, str]) -> None:
        for name in os.environ:
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)

    return replace


_ENOUGH = {"MONGO_URI": "mongodb://u:hush@h/shop", "MONGO_WATCH_COLLECTIONS": "users"}


def test_config_shows_what_is_in_force(
    only: Callable[[dict[str, str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """`mnc config` prints a line for each setting without its secret, and names misspelt ones."""
    only(_ENOUGH | {"HTTP_PROT": "1"})
    assert run(["config"]) == 0
    shown = capsys.readouterr()
    assert "MONGO_URI\tmongodb://***@h/shop\tenvironment\n" in shown.out
    assert "HTTP_PORT\t3000\tdefault\n" in shown.out
    assert "hush" not in shown.out
    assert shown.err == "mnc: the variable HTTP_PROT is no setting; is HTTP_PORT meant?\n"


def test_config_shows_json(
    only: Callable[[dict[str, str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """`mnc config --json` prints one object; an unset value is null."""
    only(_ENOUGH)
    assert run(["config", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert {"name": "NATS_TOKEN", "value": None, "source": "default", "path": None} in settings


def test_config_of_wrong_settings_is_2(
    only: Callable[[dict[str, str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """`mnc config` ends with 2 and the same line as `mnc serve` when a setting is wrong."""
    only(_ENOUGH | {"HTTP_PORT": "eighty"})
    assert run(["config"]) == 2
    assert capsys.readouterr().err.startswith("mnc: HTTP_PORT: found 'eighty'")


@pytest.mark.parametrize(
    ("command", "watched", "said"),
    [
        (["snapshot", "movies"], "users,crm.movies", "'movies' is not among them"),
        (["snapshot", "crm.users"], "users,crm.movies", "'crm.users' is not among them"),
        (["migrate"], "users,crm.movies", "of the database in MONGO_URI"),
        (["migrate"], "users,orders_*", "each by its name"),
    ],
)
def test_a_command_is_not_for_every_collection(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    watched: str,
    said: str,
) -> None:
    """A collection that a command can do nothing for is a wrong setting, and nobody is asked."""
    monkeypatch.setenv("MONGO_URI", "mongodb://127.0.0.1:1/shop")
    monkeypatch.setenv("MONGO_WATCH_COLLECTIONS", watched)
    assert run(command) == 2
    assert said in capsys.readouterr().err


def test_positions_are_taken_over_for_one_stream_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`mnc migrate` says how it is done for collections with a stream of their own."""
    path = tmp_path / "mnc.toml"
    path.write_text('[[collections]]\nmatch = "users"\nnats_stream_name = "own"\n')
    monkeypatch.setenv("MNC_CONFIG", str(path))
    monkeypatch.setenv("MONGO_URI", "mongodb://127.0.0.1:1/shop")
    monkeypatch.setenv("MONGO_WATCH_COLLECTIONS", "users,movies")
    assert run(["migrate"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mnc: MNC_CONFIG: sections have streams of their own: own; ")
    assert "once for each stream" in said
