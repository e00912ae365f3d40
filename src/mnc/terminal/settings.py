"""The settings in force, as a script or a person reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import orjson
from rich.table import Table
from rich.text import Text

from mnc.config import SettingInForce
from mnc.terminal.event import printable

__all__ = ["json_settings", "plain_settings", "terminal_settings"]

_UNSET = "unset"


def json_settings(settings: Sequence[SettingInForce]) -> str:
    """Return one JSON object with all settings; the value of one that is unset is null."""
    document = {"settings": [asdict(setting) for setting in settings]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def plain_settings(settings: Sequence[SettingInForce]) -> Iterator[str]:
    """Yield a line for each setting, with tabs between name, value, source and file."""
    for setting in settings:
        yield "\t".join(printable(cell) for cell in _cells(setting)).rstrip("\t")


def terminal_settings(settings: Sequence[SettingInForce]) -> Table:
    """Return a table in which what is a default stands back."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.show_header = True
    for name in ("setting", "value", "source"):
        table.add_column(name, header_style="dim", overflow="fold")
    for setting in settings:
        name, value, source, path = (printable(cell) for cell in _cells(setting))
        style = "dim" if setting.source == "default" else ""
        # As Text: a string would be searched for rich's markup.
        table.add_row(Text(name, style), Text(value, style), Text(f"{source} {path}", style))
    return table


def _cells(setting: SettingInForce) -> tuple[str, str, str, str]:
    value = _UNSET if setting.value is None else setting.value
    return setting.name, value, setting.source, setting.path or ""
