"""A backlog of events: written, read raw as the limit, and watched while it drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import nats
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import WriteConcern
from pymongo.database import Database
from tests.connector import ConnectorProcess
from tests.waiting import wait_until

from bench.figures import per_event_us
from bench.processes import CpuMeter, peak_rss_mb
from bench.servers import MNC_SERVE, STREAM, TOKENS, Servers

__all__ = ["Drain", "drain", "insert", "now", "read_raw", "settle"]

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_INSERT_BATCH = 5000
_INSERT_BYTES = 8 * 1024 * 1024
_RAW_BATCH = 2000
_POLL_S = 0.02
_SETTLE_S = 60.0
_DRAIN_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How a backlog drained."""

    per_s: float
    """From the last moment without an event in the stream to the one with all of them."""
    first_event_s: float
    """From the process's start to the first event stored."""
    start_cpu_s: float
    """CPU of the connectors before the first event."""
    cpu_us: Mapping[str, float]
    """CPU an event since then, by process; that of several connectors is the sum."""
    peak_rss_mb: float


def now(database: Database[dict[str, Any]]) -> Timestamp:
    """Return the server's time, from which a change stream may start."""
    time_now: Timestamp = database.client.admin.command("ping")["operationTime"]
    return time_now


def insert(
    database: Database[dict[str, Any]],
    collections: Sequence[str],
    events: int,
    *,
    text_bytes: int,
    first_id: int = 0,
) -> None:
    """Insert documents in turn over the collections.

    A change event takes about 330 bytes more than the text: half a kilobyte with 120.
    """
    each = max(1, min(_INSERT_BATCH // len(collections), _INSERT_BYTES // text_bytes))
    made = 0
    while made < events:
        for name in collections:
            documents = [
                {"_id": first_id + made + index, "name": "small", "text": "x" * text_bytes}
                for index in range(min(each, events - made))
            ]
            made += len(documents)
            # Only the last one waits for the majority, and so for those before it.
            concern = WriteConcern("majority" if made == events else 1)
            if documents:
                database.get_collection(name, write_concern=concern).insert_many(documents)


def read_raw(
    database: Database[dict[str, Any]], start: Timestamp, collections: Sequence[str], events: int
) -> float:
    """Read the backlog as raw replies and throw them away; return events a second."""
    with database.client.start_session() as session:

        def command(body: dict[str, object]) -> RawBSONDocument:
            reply: RawBSONDocument = database.command(body, codec_options=_RAW, session=session)
            return reply

        stage = {"startAtOperationTime": start, "fullDocument": "updateLookup"}
        match = {"ns.coll": {"$in": list(collections)}}
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
                    "batchSize": _RAW_BATCH,
                }
            )
            read += len(list(reply["cursor"]["nextBatch"]))
        return read / (time.perf_counter() - began)


def settle(
    servers: Servers,
    collections: Sequence[str],
    *,
    command: Sequence[str] = MNC_SERVE,
    positions: int | None = None,
) -> None:
    """Let a connector store its positions, one for each collection if not told, and end."""
    wanted = len(collections) if positions is None else positions
    connector = servers.start(collections, command=command)

    def has_positions() -> bool:
        if not connector.is_alive:
            raise RuntimeError(f"the connector ended: {connector.said()}")
        return servers.database[TOKENS].count_documents({}) == wanted

    wait_until(
        has_positions,
        timeout_s=_SETTLE_S,
        what="a position for each collection",
    )
    _end([connector])


def drain(
    servers: Servers,
    start: Callable[[], Sequence[ConnectorProcess]],
    *,
    events: int,
) -> Drain:
    """Start connectors, which have positions, and measure them until the stream has all events.

    Each batch replaces its collection's position marker, so that the stream grows by the events
    alone.
    """
    before = asyncio.run(_count(servers.nats_server.url))
    started_at = time.perf_counter()
    connectors = start()
    meter = servers.cpu_meter(connectors)
    watched = asyncio.run(_watch_stream(servers.nats_server.url, before, events, meter))
    spent = meter.spent_s()
    peak = max(peak_rss_mb(connector.pid) for connector in connectors)
    _end(connectors)
    return Drain(
        per_s=events / (watched.all_at - watched.empty_at),
        first_event_s=watched.first_at - started_at,
        start_cpu_s=watched.before_s["connector"],
        cpu_us={
            name: per_event_us(spent_s - watched.before_s[name], events)
            for name, spent_s in spent.items()
        },
        peak_rss_mb=peak,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """When the stream last had none of the events, first some, and first all."""

    empty_at: float
    first_at: float
    all_at: float
    before_s: dict[str, float]
    """What the processes had used when it last had none."""


def _end(connectors: Sequence[ConnectorProcess]) -> None:
    for connector in connectors:
        connector.request_end()
    for connector in connectors:
        if connector.wait_ended() != 0:
            raise RuntimeError(f"the connector failed: {connector.said()}")


async def _watch_stream(nats_url: str, before: int, events: int, meter: CpuMeter) -> _Watched:
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    began_at = empty_at = first_at = seen_at = time.perf_counter()
    before_s = meter.spent_s()
    stored = before
    while stored < before + events:
        if seen_at - began_at > _DRAIN_TIMEOUT_S:
            raise TimeoutError(f"{stored - before} of {events} events after {_DRAIN_TIMEOUT_S} s")
        await asyncio.sleep(_POLL_S)
        stored = await _stored(jetstream)
        seen_at = time.perf_counter()
        if stored == before:
            empty_at = first_at = seen_at
            before_s = meter.spent_s()
        elif first_at == empty_at:
            first_at = seen_at
    await client.close()
    return _Watched(empty_at=empty_at, first_at=first_at, all_at=seen_at, before_s=before_s)


async def _count(nats_url: str) -> int:
    client = await nats.connect(nats_url)
    try:
        return await _stored(client.jetstream())
    finally:
        await client.close()


async def _stored(jetstream: nats.js.JetStreamContext) -> int:
    """Return how many messages the stream has."""
    return (await jetstream.stream_info(STREAM)).state.messages
