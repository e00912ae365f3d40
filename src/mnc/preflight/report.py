"""Findings as a script or a person reads them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter

import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mnc.preflight.finding import Finding, Level

__all__ = ["json_report", "plain_report", "summary", "terminal_report"]

_STYLES: dict[Level, str] = {
    "ok": "green",
    "unknown": "cyan",
    "warning": "yellow",
    "problem": "bold red",
}


def json_report(findings: Sequence[Finding]) -> str:
    """Return one JSON object with all findings."""
    report = {"findings": [asdict(finding) for finding in findings]}
    return orjson.dumps(report, option=orjson.OPT_INDENT_2).decode()


def plain_report(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each finding, with tabs between level, area, check, found and remedy."""
    for finding in findings:
        fields = (finding.level, finding.area, finding.check, finding.found, finding.remedy)
        yield "\t".join(fields).rstrip("\t")


def terminal_report(findings: Sequence[Finding]) -> RenderableType:
    """Return the findings as a table for each area, what to do below what was found."""
    return Group(
        *(_area_table(area, list(group)) for area, group in groupby(findings, attrgetter("area"))),
        Text(f"\n{summary(findings)}", style="bold"),
    )


def summary(findings: Sequence[Finding]) -> str:
    """Say in a sentence what the findings come to."""
    counts = Counter(finding.level for finding in findings)
    warnings = f"{counts['warning']} warning{'' if counts['warning'] == 1 else 's'}"
    if not counts["problem"]:
        return f"No problem and {warnings}: `mnc serve` can run with these settings."
    problems = f"{counts['problem']} problem{'' if counts['problem'] == 1 else 's'}"
    return f"{problems} and {warnings}: `mnc serve` needs the problems solved."


def _area_table(area: str, findings: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.title, table.title_justify, table.title_style = area, "left", "bold"
    table.add_column(no_wrap=True, min_width=len("problem"))
    table.add_column(no_wrap=True, min_width=len("duplicate window"))
    table.add_column(overflow="fold")
    for finding in findings:
        # As Text: a string would be searched for rich's markup.
        found = Text(finding.found)
        if finding.remedy:
            found.append(f"\n-> {finding.remedy}", style="italic")
        table.add_row(Text(finding.level, _STYLES[finding.level]), Text(finding.check), found)
    return table
