"""The documentation of events and policies has all of them, with tests that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from mnc.config import Settings
from mnc.config.paths import Mask

_ROOT = Path(__file__).parents[2]
_PAGES = {name: (_ROOT / "docs" / name).read_text() for name in ("events.md", "policies.md")}
_NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
_HEADINGS = {"MONGO_WATCH_OPERATIONS": "Operation"}
"""Settings whose table has another heading than their name."""


def _values(annotation: object) -> Iterator[str]:
    """Yield the values that a type has, as a user writes them; none when it has any number."""
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for argument in get_args(annotation):
            yield from _values(argument)


def _policies() -> Mapping[str, set[str]]:
    """Return the settings that choose among a few values, with these."""
    found = {
        name.upper(): set(_values(field.annotation))
        for name, field in Settings.model_fields.items()
    }
    return {name: values for name, values in found.items() if values}


def _table(heading: str) -> list[str]:
    """Return the rows below the head of the table whose first column is `heading`."""
    (table,) = [rest for page in _PAGES.values() for rest in page.split(f"\n| {heading} |")[1:]]
    return table.split("\n\n", 1)[0].splitlines()[2:]


@pytest.mark.parametrize("page", _PAGES)
def test_every_named_test_exists(page: str) -> None:
    """What a page gives as proof is in the suite."""
    defined = {
        (path.name, name)
        for path in (_ROOT / "tests").rglob("test_*.py")
        for name in _DEFINED.findall(path.read_text())
    }
    assert set(_NAMED.findall(_PAGES[page])) <= defined


@pytest.mark.parametrize(
    ("heading", "values"),
    [
        *((_HEADINGS.get(name, f"`{name}`"), values) for name, values in _policies().items()),
        ("Type of `_id`", set()),
        ("The server", set()),
        ("What", set()),
        ("Also", set()),
    ],
)
def test_every_value_has_a_row_with_a_test(heading: str, values: set[str]) -> None:
    """No operation, no mode and no policy is without a test, nor is any row of a table."""
    rows = _table(heading)
    assert rows
    assert all(_NAMED.search(row) for row in rows)
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert shown >= values


def test_settings_that_choose_are_found() -> None:
    """The types of the settings tell, so that a new policy is missed here."""
    policies = _policies()
    assert policies["MONGO_ON_HISTORY_LOST"] == {"stop", "snapshot", "now"}
    assert policies["NATS_REQUIRE_FENCING"] == {"true", "false"}
    assert "dropDatabase" in policies["MONGO_WATCH_OPERATIONS"]
    assert "HTTP_PORT" not in policies


@pytest.mark.parametrize("mask", get_args(Mask))
def test_every_mask_has_a_row(mask: str) -> None:
    """The table of hidden fields has each way to mask a value."""
    assert any(f":{mask}`" in row for row in _table("What"))
