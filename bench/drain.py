"""Drain a backlog of events, against reading the same change stream raw.

    python -m bench.drain [--events 60000] [--collections 1] [--text-bytes 120] [--rounds 3]

Each round runs on fresh embedded servers: `mnc serve` is started once, so that the collections have
a position, and stopped; a backlog is inserted; the change stream is read raw, whole replies as
pymongo gets them and nothing done with them, which is the limit; then `mnc serve` is started again,
and the time is taken from the first event stored in the stream to the last. CPU is that of the
connector's process, start-up included.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import click
import nats
import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from rich.console import Console
from rich.table import Table

from mnc.embedded.servers import start_mongod, start_nats_server

_STREAM = "bench"
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_INSERT_BATCH = 5000
_INSERT_BYTES = 8 * 1024 * 1024
_POLL_S = 0.02
_DRAIN_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round measured."""

    raw_per_s: float
    drain_per_s: float
    first_event_s: float
    """From the process's start to the first event stored."""
    cpu_us_per_event: float
    peak_rss_mb: float

    @property
    def ratio(self) -> float:
        """The drain rate as a share of the raw read rate."""
        return self.drain_per_s / self.raw_per_s


@click.command()
@click.option("--events", default=60_000, show_default=True, help="Events in the backlog.")
@click.option(
    "--collections", default=1, show_default=True, help="Collections they are spread over."
)
@click.option("--text-bytes", default=120, show_default=True, help="Text in each document.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the median is what counts.")
def main(events: int, collections: int, text_bytes: int, rounds: int) -> None:
    """Print how fast a backlog drains, as a share of reading it raw."""
    table = Table(title=f"Drain of {events:,} events in {collections} collection(s)")
    for column in (
        "round",
        "raw /s",
        "drain /s",
        "ratio",
        "first event s",
        "CPU us/event",
        "RSS MB",
    ):
        table.add_column(column, justify="right")
    results = []
    for number in range(1, rounds + 1):
        click.echo(f"round {number} of {rounds} ...", err=True)
        names = [f"c{index}" for index in range(collections)]
        results.append(_round(events, names, text_bytes=text_bytes))
        table.add_row(str(number), *_cells(results[-1]))
    median = sorted(results, key=lambda result: result.ratio)[len(results) // 2]
    table.add_section()
    table.add_row("median", *_cells(median))
    Console(width=100).print(table)
    ratio = statistics.median(result.ratio for result in results)
    click.echo(f"drain/raw, median of {rounds}: {ratio:.3f}")


def _cells(result: Round) -> Iterator[str]:
    yield f"{result.raw_per_s:,.0f}"
    yield f"{result.drain_per_s:,.0f}"
    yield f"{result.ratio:.3f}"
    yield f"{result.first_event_s:.2f}"
    yield f"{result.cpu_us_per_event:.1f}"
    yield f"{result.peak_rss_mb:.0f}"


def _round(events: int, collections: list[str], *, text_bytes: int) -> Round:
    with (
        tempfile.TemporaryDirectory(prefix="mnc-bench-") as folder,
        _servers(Path(folder)) as (
            uri,
            nats_url,
        ),
    ):
        environment = {
            **os.environ,
            "MONGO_URI": uri,
            "MONGO_WATCH_COLLECTIONS": ",".join(collections),
            "NATS_SERVER_URL": nats_url,
            "NATS_STREAM_NAME": _STREAM,
            "RAFT_CLUSTER_SIZE": "1",
            "HTTP_PORT": "0",
            "HTTP_HOST": "127.0.0.1",
            "LOG_FORMAT": "json",
        }
        first = _Connector(environment)
        first.wait_for("capture.opened", times=len(collections))
        first.stop()
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri)
        database = client.get_default_database()
        start = client.admin.command("ping")["operationTime"]
        _insert(database, collections, events, text_bytes=text_bytes)
        raw_per_s = _read_raw(database, start, collections, events)
        result = _drain(environment, nats_url, events, raw_per_s)
        client.close()
        return result


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, str]]:
    mongod = start_mongod(folder / "mongod", oplog_size_mb=4096)
    try:
        nats_server = start_nats_server(folder / "nats")
        try:
            yield mongod.database_uri("bench"), nats_server.url
        finally:
            nats_server.kill()
    finally:
        mongod.kill()


class _Connector:
    """A `mnc serve` process whose log lines are read as they come."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.started_at = time.perf_counter()
        self._lines: list[dict[str, object]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mnc", "serve"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self._lines.append(json.loads(line))

    def wait_for(self, event: str, *, times: int) -> None:
        """Block until `event` was logged `times` times."""
        while sum(line["event"] == event for line in self._lines) < times:
            if self._process.poll() is not None:
                raise RuntimeError(f"mnc serve ended: {self._lines[-3:]}")
            time.sleep(_POLL_S)

    def stop(self) -> resource.struct_rusage:
        """Stop the process in order and return what it used."""
        self._process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode != 0:
            raise RuntimeError(f"mnc serve failed: {self._lines[-3:]}")
        return usage


def _insert(database: Any, collections: list[str], events: int, *, text_bytes: int) -> None:
    """Insert documents in turn over the collections.

    A change event takes about 330 bytes more than the text: half a kilobyte by default.
    """
    made = 0
    while made < events:
        for name in collections:
            count = min(
                _INSERT_BATCH // len(collections), events - made, _INSERT_BYTES // text_bytes
            )
            database[name].insert_many(
                [
                    {"_id": made + index, "name": "small", "text": "x" * text_bytes}
                    for index in range(count)
                ],
                ordered=True,
            )
            made += count


def _read_raw(database: Any, start: Any, collections: list[str], events: int) -> float:
    """Read the backlog as raw replies and throw them away; return events a second."""
    with database.client.start_session() as session:

        def command(body: dict[str, object]) -> RawBSONDocument:
            reply: RawBSONDocument = database.command(body, codec_options=_RAW, session=session)
            return reply

        stage = {"startAtOperationTime": start, "fullDocument": "updateLookup"}
        match = {"ns.coll": {"$in": collections}}
        began = time.perf_counter()
        reply = command(
            {
                "aggregate": 1,
                "pipeline": [{"$changeStream": stage}, {"$match": match}],
                "cursor": {},
            }
        )
        read = len(list(reply["cursor"]["firstBatch"]))
        cursor_id = reply["cursor"]["id"]
        while read < events:
            reply = command(
                {
                    "getMore": bson.Int64(cursor_id),
                    "collection": "$cmd.aggregate",
                    "batchSize": 2000,
                }
            )
            read += len(list(reply["cursor"]["nextBatch"]))
        return read / (time.perf_counter() - began)


def _drain(environment: dict[str, str], nats_url: str, events: int, raw_per_s: float) -> Round:
    connector = _Connector(environment)
    collections = len(environment["MONGO_WATCH_COLLECTIONS"].split(","))
    first_at, last_at = asyncio.run(_watch_stream(nats_url, events, markers=collections))
    usage = connector.stop()
    return Round(
        raw_per_s=raw_per_s,
        drain_per_s=events / (last_at - first_at),
        first_event_s=first_at - connector.started_at,
        cpu_us_per_event=(usage.ru_utime + usage.ru_stime) / events * 1e6,
        peak_rss_mb=usage.ru_maxrss / 1024,
    )


async def _watch_stream(nats_url: str, events: int, *, markers: int) -> tuple[float, float]:
    """Poll the stream; return when it last held no event, and when it first held all."""
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    empty_at = now = time.perf_counter()
    stored = 0
    while stored < events + markers:
        if now - empty_at > _DRAIN_TIMEOUT_S:
            raise TimeoutError(
                f"only {stored - markers} of {events} events after {_DRAIN_TIMEOUT_S} s"
            )
        await asyncio.sleep(_POLL_S)
        # Each batch replaces its collection's marker: beside the events, one message each is left.
        stored = (await jetstream.stream_info(_STREAM)).state.messages
        now = time.perf_counter()
        if stored <= markers:
            empty_at = now
    await client.close()
    return empty_at, now


if __name__ == "__main__":
    main()
