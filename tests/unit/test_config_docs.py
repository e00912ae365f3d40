"""The documentation of the settings is that of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnc.config import SettingRow, setting_rows

_PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.mark.parametrize("row", setting_rows(), ids=lambda row: row.name)
def test_every_setting_is_documented(row: SettingRow) -> None:
    """docs/settings.md has each setting's default, bounds and meaning, word for word."""
    default = "required" if row.default is None else f"`{row.default}`"
    line = f"| `{row.name}` | {default} | {row.allowed} | {row.description} |"
    assert line in _PAGE.read_text().splitlines()


def test_no_setting_is_documented_that_does_not_exist() -> None:
    """The table of docs/settings.md has as many rows as the model has settings."""
    rows = [line for line in _PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(setting_rows())
