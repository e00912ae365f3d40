"""Events as the rows of a table. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table
from rich.text import Text

from mnc.terminal.event import ShownEvent, id_text, lag_text

__all__ = ["OPERATION_STYLES", "event_table"]

OPERATION_STYLES = {"insert": "green", "update": "yellow", "replace": "cyan", "delete": "red"}

_TIME_WIDTH = 12
_COLLECTION_WIDTH = 16
_OPERATION_WIDTH = 7
_LAG_WIDTH = 9


def event_table(events: Iterable[ShownEvent], *, today: datetime) -> Table:
    """Return a table of time, collection, operation, id and lag, without a heading.

    The widths don't depend on the events, so that one table continues another. The time is that of
    the time zone of `today`, or the date for another day than that.
    """
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=_TIME_WIDTH, style="dim", no_wrap=True)
    table.add_column(width=_COLLECTION_WIDTH, no_wrap=True)
    table.add_column(width=_OPERATION_WIDTH, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(width=_LAG_WIDTH, no_wrap=True, justify="right")
    for event in events:
        # As Text: a string would be searched for rich's markup.
        table.add_row(
            _time_text(datetime.fromtimestamp(event.stored_at_s, today.tzinfo), today),
            Text(event.collection),
            Text(event.operation, OPERATION_STYLES.get(event.operation, "")),
            Text(id_text(event)),
            lag_text(event.lag_s),
        )
    return table


def _time_text(stored_at: datetime, today: datetime) -> str:
    if stored_at.date() != today.date():
        return f"{stored_at:%Y-%m-%d}"
    return f"{stored_at:%H:%M:%S}.{stored_at.microsecond // 1000:03}"
