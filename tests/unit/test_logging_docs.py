"""The documentation of the log's events is that of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"[a-z]+\.[a-z_]+")
_LEVELS = {"debug", "info", "warning", "error", "exception"}


def _logged(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the events that a module logs, and a level of each."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.args[0]
        if not isinstance(name, ast.Constant) or not _NAME.fullmatch(str(name.value)):
            continue
        for level in _levels(node.func):
            yield str(name.value), level


def _levels(function: ast.expr) -> Iterator[str]:
    """Yield the levels that a call logs at; none if it logs nothing."""
    match function:
        case ast.Attribute(attr=attr) if attr in _LEVELS:
            yield "error" if attr == "exception" else attr
        case ast.IfExp(body=one, orelse=other):
            yield from (*_levels(one), *_levels(other))


def test_every_event_of_the_log_is_documented() -> None:
    """docs/logging.md has a row for each event with its levels, and for no other."""
    levels: dict[str, set[str]] = {}
    for path in (_ROOT / "src").rglob("*.py"):
        for event, level in _logged(path):
            levels.setdefault(event, set()).add(level)
    page = (_ROOT / "docs/logging.md").read_text()
    rows = re.findall(rf"^\| `({_NAME.pattern})` \| ([a-z, ]+) \|", page, re.MULTILINE)
    assert {event: set(found.split(", ")) for event, found in rows} == levels
