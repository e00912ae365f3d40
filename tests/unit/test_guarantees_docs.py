"""The documentation of the guarantees names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "guarantees.md"
_NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
_DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def _defined(folder: str) -> set[tuple[str, str]]:
    return {
        (path.name, name)
        for path in (_ROOT / "tests" / folder).glob("test_*.py")
        for name in _DEFINED.findall(path.read_text())
    }


def test_every_named_test_exists() -> None:
    """What docs/guarantees.md gives as proof is in the suite."""
    named = set(_NAMED.findall(_PAGE.read_text()))
    assert named
    assert named <= _defined("faults") | _defined("integration")


def test_every_fault_test_is_named() -> None:
    """Each test of a fault has its place in docs/guarantees.md."""
    assert _defined("faults") <= set(_NAMED.findall(_PAGE.read_text()))
