"""What the live view of `mnc up` shows: where everything is, what came, the newest events. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from mnc.terminal.event import ShownEvent, lag_text
from mnc.terminal.places import Places
from mnc.terminal.table import OPERATION_STYLES, event_table

__all__ = ["Tally", "dashboard"]

_NEWEST_KEPT = 200
"""More rows than a terminal has."""

_FEWEST_ROWS = 3
_OTHER_LINES = 6
"""The lines of the dashboard beside the events, the addresses and the commands."""


class Tally:
    """The events of one run: how many of each operation, and the newest.

    Invariants: `total` is the sum of `counts`; `newest` is in the order of the stream.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.newest: deque[ShownEvent] = deque(maxlen=_NEWEST_KEPT)

    @property
    def total(self) -> int:
        """How many events came."""
        return self.counts.total()

    def add(self, events: Sequence[ShownEvent]) -> None:
        """Count events, which come after those before."""
        self.counts.update(event.operation for event in events)
        self.newest.extend(events)


def dashboard(
    places: Places, tally: Tally, *, notice: str, height: int, today: datetime
) -> RenderableType:
    """Return the view for a terminal of `height` lines.

    `notice` is a sentence about the view itself, or empty. Times are shown in the time zone of
    `today`.
    """
    rows, commands = places.rows(), places.commands()
    room = max(height - len(rows) - len(commands) - _OTHER_LINES, _FEWEST_ROWS)
    newest = list(tally.newest)[-room:]
    waiting = notice or ("" if newest else "waiting for the first event")
    return Group(
        Rule(Text(f"mnc {places.version}: MongoDB -> JetStream", "bold"), align="left"),
        _addresses(rows),
        Text("look further", "dim"),
        *(Text(f"  {command}", "cyan", overflow="fold") for command in commands),
        Rule(_counts(tally), align="left"),
        event_table(newest, today=today),
        Text(waiting, "yellow"),
        Text("Ctrl-C stops everything; the data stays", "dim"),
    )


def _addresses(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, address in rows:
        table.add_row(name, Text(address))
    return table


def _counts(tally: Tally) -> Text:
    parts = [
        Text(f"{operation} {tally.counts[operation]:,}", style)
        for operation, style in OPERATION_STYLES.items()
    ]
    lag = lag_text(tally.newest[-1].lag_s if tally.newest else None)
    return Text("   ").join([Text(f"{tally.total:,} events", "bold"), *parts, Text(f"lag {lag}")])
