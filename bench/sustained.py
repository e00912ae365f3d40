"""The rate that can be kept up while others go on writing, and the memory that it takes.

    python -m bench.sustained [--seconds 60] [--collections 4] [--text-bytes 120]

First documents are inserted as fast as they can be, ahead of `mnc serve` by a limited backlog; the
rate at which their events are stored meanwhile is the highest that can be kept up. Then as many
are inserted at 80 % of that rate, and what waits must not grow. At the end the change stream of all
that is read raw, as the limit. The stream keeps its messages for twenty seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pymongo import MongoClient
from tests.connector import ConnectorProcess
from tests.waiting import wait_until

from bench.backlog import now, read_raw
from bench.figures import per_event_us, print_table
from bench.plots import plot_option, save_lines
from bench.processes import peak_rss_mb
from bench.servers import Servers, fresh_servers

__all__: list[str] = []

_KEPT_S = 20.0
_WARM_UP_S = 5.0
_LOOK_S = 1.0
_BATCH = 1000
_BACKLOG = 50_000
"""Events that wait at most while all write as fast as they can: some seconds' worth."""

_PACED_SHARE = 0.8
_POLL_S = 0.01
_DRAIN_S = 120.0
_ASK_S = 0.1


class _Writer:
    """Inserts batches into one collection after the other, as long as `may_write` says so."""

    def __init__(self, uri: str, names: Sequence[str], text_bytes: int) -> None:
        self.inserted = 0
        self._uri = uri
        self._names = names
        self._text = "x" * text_bytes

    @contextmanager
    def writing(self, may_write: Callable[[], bool]) -> Iterator[None]:
        """Write in a thread, as long as the context lasts."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._run, args=(stopped, may_write))
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _run(self, stopped: threading.Event, may_write: Callable[[], bool]) -> None:
        with MongoClient[dict[str, Any]](self._uri) as client:
            database = client.get_default_database()
            turn = 0
            while not stopped.is_set():
                if not may_write():
                    stopped.wait(_POLL_S)
                    continue
                turn += 1
                database[self._names[turn % len(self._names)]].insert_many(
                    [{"text": self._text} for _ in range(_BATCH)], ordered=False
                )
                self.inserted += _BATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """What a while at one load showed."""

    inserted_per_s: float
    stored_per_s: float
    waiting: Sequence[tuple[float, int]]
    """The second of each look, and the events that were inserted and not yet stored."""
    cpu_us: Sequence[float]
    peak_rss_mb: float

    def cells(self) -> Iterator[str]:
        """Give the figures as they are printed."""
        yield f"{self.inserted_per_s:,.0f}"
        yield f"{self.stored_per_s:,.0f}"
        yield f"{self.waiting[0][1]:,}"
        yield f"{self.waiting[-1][1]:,}"
        yield from (f"{spent_us:.1f}" for spent_us in self.cpu_us)
        yield f"{self.peak_rss_mb:.0f}"


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long, at each load.")
@click.option("--collections", default=4, show_default=True, help="Collections written to.")
@click.option("--text-bytes", default=120, show_default=True, help="Text in each document.")
@plot_option
def main(*, seconds: float, collections: int, text_bytes: int, plot: Path | None) -> None:
    """Print the highest rate that can be kept up, and what waits at 80 % of it."""
    names = [f"c{index}" for index in range(collections)]
    with fresh_servers() as servers:
        servers.create_stream(max_age_s=_KEPT_S)
        start = now(servers.database)
        connector = servers.start(names)
        connector.wait_ready()
        writer = _Writer(servers.uri, names, text_bytes)

        def waiting() -> int:
            return writer.inserted - connector.counted("events_published")

        last_look = _Cached(waiting)
        click.echo("as fast as can be ...", err=True)
        with writer.writing(lambda: last_look() < _BACKLOG):
            most = _watch(servers, connector, writer, waiting, seconds)
        wait_until(lambda: waiting() == 0, timeout_s=_DRAIN_S, what="what waits to be stored")
        click.echo(f"at {_PACED_SHARE:.0%} of {most.stored_per_s:,.0f}/s ...", err=True)
        pace = _Pace(most.stored_per_s * _PACED_SHARE, writer)
        with writer.writing(pace):
            paced = _watch(servers, connector, writer, waiting, seconds)
        raw_per_s = read_raw(servers.database, start, names, writer.inserted)
    columns: tuple[str, ...] = ("inserted /s", "stored /s", "waiting, first", "last")
    columns += ("CPU us: connector", "mongod", "nats-server", "RSS MB")
    print_table(
        f"Sustained for {seconds:g} s, {collections} collection(s)",
        ("load", *columns),
        [
            ("as fast as can be", *most.cells()),
            (f"at {_PACED_SHARE:.0%}", *paced.cells()),
        ],
    )
    click.echo(
        f"sustained/raw: {most.stored_per_s / raw_per_s:.3f} of {raw_per_s:,.0f}/s, nobody writing"
    )
    if plot:
        save_lines(
            plot,
            title="Events that wait to be stored",
            x_label="seconds",
            y_label="events",
            lines={
                "as fast as can be": most.waiting,
                f"at {_PACED_SHARE:.0%} of that rate": paced.waiting,
            },
        )


class _Cached:
    """Asks ten times a second and no more: asking costs the connector something, too."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._answer = 0
        self._ask_at = 0.0

    def __call__(self) -> int:
        if time.monotonic() >= self._ask_at:
            self._answer = self._ask()
            self._ask_at = time.monotonic() + _ASK_S
        return self._answer


class _Pace:
    """Lets a writer go on while it isn't ahead of a rate."""

    def __init__(self, per_s: float, writer: _Writer) -> None:
        self._per_s = per_s
        self._writer = writer
        self._began_at = time.monotonic()
        self._before = writer.inserted

    def __call__(self) -> bool:
        due = (time.monotonic() - self._began_at) * self._per_s
        return self._writer.inserted - self._before < due


def _watch(
    servers: Servers,
    connector: ConnectorProcess,
    writer: _Writer,
    waiting: Callable[[], int],
    seconds: float,
) -> _Window:
    connector.run_for(_WARM_UP_S)
    meter = servers.cpu_meter([connector])
    began_at = time.monotonic()
    inserted, stored = writer.inserted, connector.counted("events_published")
    looks = [(0.0, waiting())]
    while (passed_s := time.monotonic() - began_at) < seconds:
        connector.run_for(min(_LOOK_S, seconds - passed_s))
        looks.append((time.monotonic() - began_at, waiting()))
    stored_since = connector.counted("events_published") - stored
    passed_s = time.monotonic() - began_at
    return _Window(
        inserted_per_s=(writer.inserted - inserted) / passed_s,
        stored_per_s=stored_since / passed_s,
        waiting=looks,
        cpu_us=[per_event_us(spent_s, stored_since) for spent_s in meter.spent_s().values()],
        peak_rss_mb=peak_rss_mb(connector.pid),
    )


if __name__ == "__main__":
    main()
