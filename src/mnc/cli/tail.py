"""`mnc tail`: the stream's events in the terminal, as they come."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

import click
import trio
from rich.console import Console

from mnc.config import Settings, load_settings
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.tail import StreamFollower
from mnc.drivers.nats.whole import WholeMessages
from mnc.encode.subject import event_filters
from mnc.model import StreamSeq
from mnc.telemetry.logging import configure_logging
from mnc.terminal.event import ShownEvent, json_line, plain_line
from mnc.terminal.follow import follow
from mnc.terminal.output import Output
from mnc.terminal.table import event_table

__all__ = ["tail"]

_FIRST = StreamSeq(1)
_UNUSED = {"MONGO_URI": "mongodb://127.0.0.1/unused", "MONGO_WATCH_COLLECTIONS": "unused"}
"""What the settings can't be without, although this command doesn't need it."""


def _start(_: click.Context, __: click.Parameter, value: str) -> StreamSeq | None:
    """Read where to begin; None is now."""
    if value == "now":
        return None
    if value == "start":
        return _FIRST
    if value.isdecimal() and int(value) >= _FIRST:
        return StreamSeq(int(value))
    raise click.BadParameter("it is neither start, now, nor a stream sequence from 1 on")


@click.command()
@click.option(
    "--from",
    "start",
    metavar="start|now|SEQUENCE",
    default="now",
    show_default=True,
    callback=_start,
    help="Where in the stream to begin.",
)
@click.option(
    "--collection",
    metavar="NAME",
    help="Only this collection's events. With its database before it, as in DATABASE.NAME, unless "
    "that is the one in MONGO_URI and the name has no dot.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after this many events.")
@click.option("--json", "as_json", is_flag=True, help="Print an object of JSON a line.")
def tail(
    start: StreamSeq | None, collection: str | None, count: int | None, *, as_json: bool
) -> int:
    """Follow the events in the stream NATS_STREAM_NAME of NATS_SERVER_URL.

    Prints when the stream stored an event, its collection, operation and document id, and how long
    after the write in MongoDB that was: in columns on a terminal, else with tabs between the fields
    and the last in milliseconds. Waits for a server that is down and for a stream that does not
    exist yet.
    """
    settings = _nats_settings(os.environ)
    configure_logging("error", "auto")  # what a user needs to know of outages is said below
    printer = _Printer(_form(as_json=as_json), count)
    return trio.run(partial(_tail, settings, start, collection, printer, whole=as_json))


def _nats_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings of NATS from wherever settings may stand. Raises ConfigError."""
    used = {name: environ[name] for name in environ if name.startswith("NATS_")}
    return load_settings({**_UNUSED, **used, "MNC_CONFIG": environ.get("MNC_CONFIG", "")})


def _form(*, as_json: bool) -> Callable[[Sequence[ShownEvent]], str]:
    """Return the function that writes events the way that was asked for, or fits the output."""
    if as_json:
        return lambda events: "".join(f"{json_line(event)}\n" for event in events)
    if not sys.stdout.isatty():
        return lambda events: "".join(f"{plain_line(event)}\n" for event in events)
    console = Console()

    def columns(events: Sequence[ShownEvent]) -> str:
        with console.capture() as captured:
            console.print(event_table(events, today=datetime.now().astimezone()))
        return captured.get()

    return columns


class _Printer:
    """Prints events, up to a number of them."""

    def __init__(self, form: Callable[[Sequence[ShownEvent]], str], count: int | None) -> None:
        self._form = form
        self._left = count
        self._output = Output(sys.stdout.fileno(), encoding=sys.stdout.encoding)

    async def show(self, events: Sequence[ShownEvent]) -> bool:
        """Print what is still wanted; say whether more is."""
        self._output.check_reader()
        events = events[: self._left]
        if events:
            await self._output.write(self._form(events))
        if self._left is not None:
            self._left -= len(events)
        return self._left != 0


async def _tail(
    settings: Settings,
    start: StreamSeq | None,
    collection: str | None,
    printer: _Printer,
    *,
    whole: bool,
) -> int:
    """Follow the stream until the printer has enough or a signal comes; return the exit code.

    `whole` events have their payloads, however large; what else is shown of an event, a message
    that only refers to its payload has too.
    """
    stream = settings.nats_stream_name
    session = NatsSession(settings.nats_servers, name="mnc tail", security=settings)
    follower = StreamFollower(
        session,
        stream=stream,
        subject_filters=event_filters(stream, collection),
        start=start,
    )
    exit_code = 0

    async def notice(sentence: str) -> None:
        reason = "" if session.last_error is None else f": {session.last_error}"
        click.echo(f"mnc: {sentence}{reason}", err=True)

    async def end_at_signal(scope: trio.CancelScope) -> None:
        nonlocal exit_code
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                exit_code = 128 + number  # as a shell reports it
                scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_at_signal, nursery.cancel_scope)
        await nursery.start(session.run)
        source = WholeMessages(follower, session) if whole else follower
        await follow(source, show=printer.show, notice=notice)
        nursery.cancel_scope.cancel()
    return exit_code
