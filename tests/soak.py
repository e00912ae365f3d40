"""The soak: faults many times over, and a line for each of what they led to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from tests.oracle import Report

__all__ = ["SOAK", "Figures", "SoakReport", "note_figures"]

SOAK = (pytest.mark.soak, pytest.mark.timeout(3600))
"""Leaves a parameter set to `.scripts/soak`, and gives it an hour."""

_PROPERTY = "soak"
_ROUNDS = "rounds"
"""The parameter that says how often a test does what it does: a number, or one thing a round."""

_FIGURES = ("Rounds", "Events", "Lost", "Duplicated", "Misordered")
_HEAD = (
    f"| Fault | {' | '.join(_FIGURES)} | Seconds | Outcome |",
    f"| --- |{' ---: |' * (len(_FIGURES) + 1)} --- |",
)
_ABOUT = """# The soak

The figures of the last `.scripts/soak`, on {date}.
Each fault came as often as "rounds" says, at random moments of a seeded writer's changes.
The oracle read the change stream a second time, and compared the two event by event.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the oracle counted in a test, over all its deployments."""

    rounds: int
    events: int
    lost: int
    duplicated: int
    misordered: int

    @classmethod
    def of(cls, reports: Sequence[Report], *, rounds: int) -> Self:
        """Add up what the oracle reported of each deployment."""
        return cls(
            rounds=rounds,
            events=sum(report.expected for report in reports),
            lost=sum(report.lost for report in reports),
            duplicated=sum(report.duplicated + report.unexpected for report in reports),
            misordered=sum(report.misordered for report in reports),
        )

    def cells(self) -> Sequence[str]:
        """Return the figures as a table's cells."""
        figures = (self.rounds, self.events, self.lost, self.duplicated, self.misordered)
        return [f"{figure:,}" for figure in figures]


def note_figures(item: pytest.Item, reports: Sequence[Report]) -> None:
    """Keep what the oracle counted in a test for the soak's report."""
    assert isinstance(item, pytest.Function)
    spec = getattr(item, "callspec", None)
    rounds = 1 if spec is None else spec.params.get(_ROUNDS, 1)
    if isinstance(rounds, Sequence):
        rounds = len(rounds)
    item.user_properties.append((_PROPERTY, Figures.of(reports, rounds=rounds).cells()))


class SoakReport:
    """A pytest plugin that prints a line a fault, and writes them to a file at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self._seconds: Counter[str] = Counter()
        self._failed: set[str] = set()
        self._terminal: pytest.TerminalReporter | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Find where to print."""
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(terminal, pytest.TerminalReporter)
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print what became of a test, once its last phase has ended."""
        name = report.nodeid
        self._seconds[name] += round(report.duration)
        if report.failed:
            self._failed.add(name)
        if report.when != "teardown":
            return
        properties: dict[str, Any] = dict(report.user_properties)
        cells = properties.get(_PROPERTY, [""] * len(_FIGURES))
        outcome = "FAILED" if name in self._failed else "exact"
        line = f"| {' | '.join([_shown(name), *cells, str(self._seconds[name]), outcome])} |"
        self._lines.append(line)
        assert self._terminal is not None
        self._terminal.ensure_newline()
        self._terminal.write_line(line)

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        about = _ABOUT.format(date=datetime.now(UTC).date())
        self._path.write_text(about + "\n".join((*_HEAD, *sorted(self._lines))) + "\n")


def _shown(nodeid: str) -> str:
    """Name a test as documents do, without its folders."""
    path, _, name = nodeid.partition("::")
    return f"{Path(path).stem}: {name.removeprefix('test_').replace('|', '/')}"
