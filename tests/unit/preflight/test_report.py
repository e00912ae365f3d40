"""Findings as a script or a person reads them."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from mnc.preflight.finding import Finding, Level, has_problem
from mnc.preflight.report import json_report, plain_report, summary, terminal_report

_FINDINGS = [
    Finding(area="settings", check="watched", level="ok", found="users"),
    Finding(area="MongoDB", check="version", level="ok", found="7.0.2"),
    Finding(area="MongoDB", check="oplog", level="unknown", found="not allowed"),
    Finding(area="NATS", check="limits", level="warning", found="[red]10", remedy="raise [it]"),
    Finding(area="NATS", check="stream", level="problem", found="sealed", remedy="take another"),
]


def test_a_pipe_gets_fields_with_tabs() -> None:
    """A line has the level, area, check and what was found, and the remedy if there is one."""
    assert list(plain_report(_FINDINGS))[2:4] == [
        "unknown\tMongoDB\toplog\tnot allowed",
        "warning\tNATS\tlimits\t[red]10\traise [it]",
    ]


def test_json_has_every_field() -> None:
    """The JSON is one object with every finding, whose fields are always there."""
    findings = json.loads(json_report(_FINDINGS))["findings"]
    assert len(findings) == len(_FINDINGS)
    assert findings[0] == {
        "area": "settings",
        "check": "watched",
        "level": "ok",
        "found": "users",
        "remedy": "",
    }


def test_a_terminal_shows_what_to_do_below_what_was_found() -> None:
    """The table has each area once, and text that looks like markup stays as it is."""
    written = StringIO()
    Console(file=written, width=100).print(terminal_report(_FINDINGS))
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    assert [line for line in lines if line in {"settings", "MongoDB", "NATS"}] == [
        "settings",
        "MongoDB",
        "NATS",
    ]
    (number,) = [number for number, line in enumerate(lines) if line.endswith("[red]10")]
    assert lines[number + 1].endswith("-> raise [it]")
    assert "1 problem and 1 warning" in lines[-1]


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (["ok", "unknown"], "No problem and 0 warnings: `mnc serve` can run"),
        (["ok", "warning"], "No problem and 1 warning:"),
        (["problem", "problem", "warning"], "2 problems and 1 warning: `mnc serve` needs"),
    ],
)
def test_the_summary_counts(levels: list[Level], said: str) -> None:
    """Only a problem keeps the connector from working."""
    findings = [Finding(area="NATS", check="x", level=level, found="") for level in levels]
    assert said in summary(findings)
    assert has_problem(findings) == ("problem" in levels)
