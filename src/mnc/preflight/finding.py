"""A finding: one thing that was looked at, how it stands, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Area", "Finding", "Level", "has_problem"]

Area = Literal["settings", "MongoDB", "NATS"]

Level = Literal["ok", "unknown", "warning", "problem"]
"""With a problem `mnc serve` doesn't work; a warning may become one; the unknown may be well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of what `mnc check` says. It holds no secret."""

    area: Area
    check: str
    """What was looked at, in a word or two; the same in every run."""
    level: Level
    found: str
    remedy: str = ""
    """What to do, with the setting's name or the command; empty when nothing needs doing."""


def has_problem(findings: Iterable[Finding]) -> bool:
    """Say whether a finding is a problem."""
    return any(finding.level == "problem" for finding in findings)
