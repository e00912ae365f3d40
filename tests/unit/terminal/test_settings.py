"""The settings in force are shown so that nothing in them steers a terminal."""

from __future__ import annotations

from rich.console import Console

from mnc.config import SettingInForce
from mnc.terminal.settings import plain_settings, terminal_settings

_SETTINGS = [
    SettingInForce(name="LOG_LEVEL", value="info", source="default", path=None),
    SettingInForce(name="NATS_USER", value=None, source="default", path=None),
    SettingInForce(name="RAFT_LOG_PATH", value="[b]\x1b", source="TOML file", path="/mnc.toml"),
]


def test_a_line_has_name_value_source_and_file() -> None:
    """The cells of a line have tabs between them; what is unset says so."""
    assert list(plain_settings(_SETTINGS)) == [
        "LOG_LEVEL\tinfo\tdefault",
        "NATS_USER\tunset\tdefault",
        "RAFT_LOG_PATH\t[b]\\x1b\tTOML file\t/mnc.toml",
    ]


def test_a_table_shows_markup_and_escapes_as_text() -> None:
    """A value is shown as it is written, not as rich or a terminal would read it."""
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(terminal_settings(_SETTINGS))
    assert "[b]\\x1b" in capture.get()
    assert "TOML file /mnc.toml" in capture.get()
