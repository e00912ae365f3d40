"""What `mnc up` shows, on a terminal and in a pipe."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio
from rich.console import Console, RenderableType

from mnc.model import StreamSeq
from mnc.terminal.dashboard import Tally, dashboard
from mnc.terminal.event import ShownEvent
from mnc.terminal.output import Output
from mnc.terminal.places import Places
from mnc.terminal.table import event_table
from mnc.terminal.views import live_view, plain_view

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
PLACES = Places(
    version="1.2.3",
    mongo_uri="mongodb://127.0.0.1:27017/mnc?replicaSet=mnc",
    nats_url="nats://127.0.0.1:4222",
    stream="cs",
    http_port=3000,
    data_dir=Path("/data/.mnc"),
)


def event(
    number: int, operation: str = "insert", *, document_id: str = "", at_s: float | None = None
) -> ShownEvent:
    """Make an event."""
    return ShownEvent(
        subject=f"cs.users.{operation}.{number}",
        stream_seq=StreamSeq(number),
        stored_at_s=NOON.timestamp() if at_s is None else at_s,
        collection="users",
        operation=operation,
        document_id=document_id or f"id-{number}",
        dead_letter=None,
        lag_s=0.012,
        change={},
    )


def rendered(view: RenderableType, *, width: int = 100) -> Sequence[str]:
    """Return what a terminal without colours would show."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


def test_dashboard_names_every_place_whole() -> None:
    """Addresses and commands can be copied: they are neither cut nor marked up."""
    shown = "\n".join(rendered(dashboard(PLACES, Tally(), notice="", height=40, today=NOON)))
    for _, address in PLACES.rows():
        assert address in shown
    for command in PLACES.commands():
        assert command in shown
    assert "waiting for the first event" in shown


def test_dashboard_counts_and_shows_the_newest() -> None:
    """Every event counts; the rows are the newest ones, as many as fit."""
    tally = Tally()
    tally.add([event(number) for number in range(1000)])
    tally.add([event(1000, "delete")])
    lines = rendered(dashboard(PLACES, tally, notice="", height=30, today=NOON))
    assert len(lines) <= 30
    assert any("1,001 events" in line and "delete 1" in line for line in lines)
    rows = [line for line in lines if "id-" in line]
    assert "id-1000" in rows[-1]
    assert f"id-{1001 - len(rows)}" in rows[0]


def test_dashboard_fits_a_small_terminal() -> None:
    """A terminal of a few lines still shows events, whatever is cut."""
    tally = Tally()
    tally.add([event(number) for number in range(9)])
    lines = rendered(dashboard(PLACES, tally, notice="", height=5, today=NOON))
    assert sum("id-" in line for line in lines) == 3


def test_table_keeps_one_line_an_event() -> None:
    """Long ids are cut and markup in them is shown as text, so columns stay aligned."""
    table = event_table(
        [event(1, document_id="[red]" + "x" * 300), event(2, at_s=0)],
        today=NOON,
    )
    lines = rendered(table, width=80)
    assert len(lines) == 2
    assert "[red]xxx" in lines[0]
    assert lines[0].startswith("12:00:00.000")
    assert lines[1].startswith("1970-01-01")
    assert lines[0].rstrip().endswith("12 ms")


def drained(reader: int, writer: int) -> str:
    """Close a pipe and return what was in it."""
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        return pipe.read()


async def test_plain_view_writes_a_line_an_event() -> None:
    """A pipe gets the addresses first and then one line for each event."""
    reader, writer = os.pipe()
    async with plain_view(Output(writer), PLACES) as view:
        assert await view.show([event(1), event(2, "delete")])
        assert await view.show([])
    lines = drained(reader, writer).splitlines()
    assert PLACES.mongo_uri in lines[1]
    assert [line.split("\t")[2] for line in lines[-2:]] == ["insert", "delete"]


async def test_live_view_restores_the_terminal() -> None:
    """The cursor is shown again at the end, also when the view is cancelled."""
    reader, writer = os.pipe()
    with trio.CancelScope() as scope:
        async with live_view(Output(writer), PLACES) as view:
            await view.show([event(1)])
            scope.cancel()
            await view.notice("waiting: down")
    text = drained(reader, writer)
    assert "1 events" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


async def test_live_view_does_not_draw_each_batch_of_a_burst() -> None:
    """A burst is drawn a few times a second, and once more when it is over."""
    reader, writer = os.pipe()
    async with live_view(Output(writer), PLACES) as view:
        await view.show([event(0)])
        for number in range(1, 6):
            await view.show([event(number)])
        await view.show([])
    drawn = drained(reader, writer)
    assert "6 events" in drawn
    assert drawn.count("look further") < 6
