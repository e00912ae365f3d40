"""The documentation of the events has all of them, with tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from mnc.model import BeforeChange, FullDocument, Operation

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "events.md").read_text()
_NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def _table(heading: str) -> list[str]:
    """Return the rows below the head of the table whose first column is `heading`."""
    table = _PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return table.splitlines()[2:]


def test_every_named_test_exists() -> None:
    """What docs/events.md gives as proof is in the suite."""
    defined = {
        (path.name, name)
        for path in (_ROOT / "tests").rglob("test_*.py")
        for name in _DEFINED.findall(path.read_text())
    }
    assert set(_NAMED.findall(_PAGE)) <= defined


@pytest.mark.parametrize(
    ("heading", "values"),
    [
        ("Operation", get_args(Operation)),
        ("`MONGO_FULL_DOCUMENT`", get_args(FullDocument)),
        ("`MONGO_FULL_DOCUMENT_BEFORE_CHANGE`", get_args(BeforeChange)),
        ("Type of `_id`", ()),
        ("The server", ()),
        ("What", ()),
    ],
)
def test_every_value_has_a_row_with_a_test(heading: str, values: tuple[str, ...]) -> None:
    """No operation and no mode is without a test, nor is any row of a table."""
    rows = _table(heading)
    assert rows
    assert all(_NAMED.search(row) for row in rows)
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert shown >= set(values)
