"""What watching collections costs MongoDB: CPU of mongod for each document that is inserted.

    python -m bench.watching [--events 20000] [--collections 1 --collections 20 ...] [--plot FILE]

For each number of collections the same documents are inserted, round and round, five times: with
nobody watching; with one change stream for all, as a reader has it; with discovery's stream beside
it, as with a glob that takes all of them; with three that have a third of the collections each, as
three members have them; and with a change stream for each collection. What the first takes is taken
off the others. Above a hundred collections the last is left out. Everything runs on an embedded
server of its own, and reading ends when all has been read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import pymongo
import trio

from bench.figures import print_table
from bench.plots import plot_option, save_lines
from bench.processes import cpu_s
from mnc.capture.options import CaptureOptions
from mnc.capture.ports import ChangeStream, StartAt
from mnc.config import Selection
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.newcomers import MongoNewcomerSource
from mnc.embedded.servers import MongodProcess, start_mongod
from mnc.model import ClusterTime

_DATABASE = "bench"
_TEXT = "." * 400
_INSERT_BATCH = 100
_BATCH_SIZE = 1000
_SETTLE_S = 1.0
_MEMBERS = 3
_MOST_STREAMS = 100

_Open = Callable[[MongoConnection, Sequence[str], ClusterTime], Awaitable[list[ChangeStream]]]


async def _nobody(_: MongoConnection, __: Sequence[str], ___: ClusterTime) -> list[ChangeStream]:
    return []


async def _shared(
    connection: MongoConnection, names: Sequence[str], since: ClusterTime
) -> list[ChangeStream]:
    source = MongoChangeSource(connection, options=CaptureOptions())
    return [await source.open(names, start=StartAt(since))]


async def _discovered(
    connection: MongoConnection, names: Sequence[str], since: ClusterTime
) -> list[ChangeStream]:
    newcomers = MongoNewcomerSource(
        connection, Selection.of(["*"]), database=connection.database.name
    )
    return [
        *await _shared(connection, names, since),
        await newcomers.open(names, since=since),
    ]


async def _three(
    connection: MongoConnection, names: Sequence[str], since: ClusterTime
) -> list[ChangeStream]:
    shares = [names[first::_MEMBERS] for first in range(_MEMBERS)]
    return [
        stream for share in shares if share for stream in await _shared(connection, share, since)
    ]


async def _each(
    connection: MongoConnection, names: Sequence[str], since: ClusterTime
) -> list[ChangeStream]:
    return [stream for name in names for stream in await _shared(connection, [name], since)]


_WAYS: dict[str, _Open] = {
    "nobody": _nobody,
    "one stream": _shared,
    "and discovery": _discovered,
    "three members": _three,
    "a stream each": _each,
}


@click.command()
@click.option("--events", default=20_000, show_default=True, help="Documents to insert.")
@click.option(
    "--collections",
    "counts",
    type=int,
    multiple=True,
    default=(1, 20, 100),
    show_default=True,
    help="How many collections; may be given several times.",
)
@plot_option
def main(*, events: int, counts: Sequence[int], plot: Path | None) -> None:
    """Print the CPU of mongod for each document, in microseconds."""
    rows: list[Sequence[str]] = []
    lines: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = start_mongod(Path(folder))
        try:
            for count in counts:
                names = [f"orders_{number}" for number in range(count)]
                spent = {
                    name: trio.run(_measure, server, names, events, way)
                    for name, way in _WAYS.items()
                    if way is not _each or count <= _MOST_STREAMS
                }
                alone = spent["nobody"]
                more = {name: spent_us - alone for name, spent_us in list(spent.items())[1:]}
                for name, more_us in more.items():
                    lines.setdefault(name, []).append((count, more_us))
                cells = (f"+{more[name]:.1f}" if name in more else "-" for name in list(_WAYS)[1:])
                rows.append((str(count), f"{alone:.1f}", *cells))
        finally:
            server.kill()
    print_table(f"CPU of mongod for each of {events:,} inserts, µs", ("collections", *_WAYS), rows)
    if plot:
        save_lines(
            plot,
            title="What watching costs mongod, for each insert",
            x_label="collections",
            y_label="µs of CPU",
            lines=lines,
            logarithmic="xy",
            ticks={count: f"{count}" for count in counts},
        )


async def _measure(server: MongodProcess, names: Sequence[str], events: int, way: _Open) -> float:
    """Insert and read with so many streams; return mongod's CPU for each document."""
    connection = MongoConnection(server.database_uri(_DATABASE), app_name="bench")
    with pymongo.MongoClient[dict[str, Any]](server.uri) as client:
        client.drop_database(_DATABASE)
        for name in names:
            client[_DATABASE].create_collection(name)
        now = client.admin.command("ping")["operationTime"]
        streams = await way(connection, names, ClusterTime(now.time, now.inc + 1))
        await trio.sleep(_SETTLE_S)
        before = cpu_s(server.pid)
        async with trio.open_nursery() as nursery:
            end = trio.Event()
            for stream in streams:
                nursery.start_soon(_read, stream, end, partial(_last_write, client))
            await trio.to_thread.run_sync(_insert, client, names, events)
            end.set()
        spent = cpu_s(server.pid) - before
        for stream in streams:
            await stream.aclose()
    await connection.close()
    return 1e6 * spent / events


async def _read(
    stream: ChangeStream, end: trio.Event, last_write: Callable[[], ClusterTime]
) -> None:
    """Read until what was written before `end` has been read."""
    last: ClusterTime | None = None
    while True:
        reply = await stream.next_reply(batch_size=_BATCH_SIZE)
        if end.is_set():
            if last is None:
                last = await trio.to_thread.run_sync(last_write)
            if reply.token.cluster_time >= last:
                return


def _last_write(client: pymongo.MongoClient[dict[str, Any]]) -> ClusterTime:
    now = client.admin.command("ping")["operationTime"]
    return ClusterTime(now.time, now.inc)


def _insert(client: pymongo.MongoClient[dict[str, Any]], names: Sequence[str], events: int) -> None:
    for begin in range(0, events, _INSERT_BATCH):
        name = names[begin // _INSERT_BATCH % len(names)]
        client[_DATABASE][name].insert_many(
            [{"text": _TEXT} for _ in range(min(_INSERT_BATCH, events - begin))]
        )


if __name__ == "__main__":
    main()
