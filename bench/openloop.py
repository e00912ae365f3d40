"""Load that comes when it is due, whatever became of what was due before, and who sees it when.

A writer that waits for an answer before it sends the next document slows down with the system that
it measures, and hides its worst times. So each document has a moment at which it is due, and its
latency counts from then. Functions whose first argument is `ready` are work for `bench.children`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bson
import nats
import orjson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy
from pymongo import MongoClient

from bench.children import Ready

__all__ = ["Load", "Seen", "consume", "publish", "watch_raw", "write"]

_MAX_CALLS_PER_S = 1000
"""Above this rate a call inserts several documents: one each would be work of the writer's."""

_THREADS = 16
"""Calls that may be under way at the same time."""

_SWITCH_S = 0.0005
_TEXT = "x" * 120
_AWAIT_MS = 500
_LATE_S = 60.0
"""How long after the end of the load what it made may still come."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

Seen = Sequence[tuple[int, float]]
"""Documents by their numbers, and when each was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """So many documents a second, in calls at even distances."""

    per_s: int
    seconds: float
    warm_up_s: float
    """At the beginning; what is due then isn't counted."""
    first: int = 0
    """The first document's number."""

    @property
    def per_call(self) -> int:
        """Documents in one call."""
        return -(-self.per_s // _MAX_CALLS_PER_S)

    @property
    def calls(self) -> int:
        """How many calls there are."""
        return round((self.warm_up_s + self.seconds) * self.per_s / self.per_call)

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return self.calls * self.per_call

    def due_s(self, call: int) -> float:
        """Return when a call is due, from the beginning."""
        return call * self.per_call / self.per_s

    @property
    def end_s(self) -> float:
        """By when all should have been seen, with much room."""
        return self.due_s(self.calls) + _LATE_S

    def latencies_s(self, seen: Seen, start_at: float) -> Sequence[float]:
        """Return how long after its moment each document was seen, the shortest first.

        Raises ValueError when one wasn't seen.
        """
        if len(seen) < self.documents:
            raise ValueError(f"{self.documents - len(seen)} of {self.documents} weren't seen")
        dues = ((self.due_s((number - self.first) // self.per_call), at) for number, at in seen)
        return sorted(at - start_at - due_s for due_s, at in dues if due_s >= self.warm_up_s)


def write(ready: Ready, uri: str, collection: str, load: Load) -> Sequence[float]:
    """Insert the documents; return how late each call began, the earliest first."""
    sys.setswitchinterval(_SWITCH_S)
    late_s: list[float] = []
    with MongoClient[dict[str, Any]](uri) as client:
        # With the default write concern, majority: for w: 1 a mongod alone hurries nothing, and its
        # journal, and with it the change stream, would be up to 100 ms behind.
        documents = client.get_default_database()[collection]

        def call_in_turn(first: int) -> None:
            for call in range(first, load.calls, _THREADS):
                number = load.first + call * load.per_call
                batch = [{"_id": number + index, "text": _TEXT} for index in range(load.per_call)]
                due_at = start_at + load.due_s(call)
                time.sleep(max(0.0, due_at - time.monotonic()))
                late_s.append(time.monotonic() - due_at)
                documents.insert_many(batch)

        client.admin.command("ping")
        start_at = ready()
        threads = [
            threading.Thread(target=call_in_turn, args=(first,)) for first in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(late_s)


def watch_raw(ready: Ready, uri: str, collection: str, load: Load) -> Seen:
    """Read a change stream as raw replies, and return when each document was in one."""
    replies: list[tuple[float, Sequence[RawBSONDocument]]] = []
    with MongoClient[dict[str, Any]](uri) as client, client.start_session() as session:
        database = client.get_default_database()

        def command(body: dict[str, object]) -> Any:
            return database.command(body, codec_options=_RAW, session=session)["cursor"]

        pipeline = [{"$changeStream": {}}, {"$match": {"ns.coll": collection}}]
        cursor_id = command({"aggregate": 1, "pipeline": pipeline, "cursor": {}})["id"]
        more = {
            "getMore": bson.Int64(cursor_id),
            "collection": "$cmd.aggregate",
            "maxTimeMS": _AWAIT_MS,
        }
        end_at = ready() + load.end_s
        seen = 0
        while seen < load.documents and time.monotonic() < end_at:
            batch = list(command(more)["nextBatch"])
            replies.append((time.monotonic(), batch))
            seen += len(batch)
    return [(int(change["documentKey"]["_id"]), at) for at, batch in replies for change in batch]


def consume(ready: Ready, url: str, subjects: str, load: Load) -> Seen:
    """Subscribe with an ordered consumer, and return when each document's message came."""
    return asyncio.run(_consume(ready, url, subjects, load))


async def _consume(ready: Ready, url: str, subjects: str, load: Load) -> Seen:
    came: list[tuple[float, bytes]] = []
    complete = asyncio.Event()

    async def take(message: Msg) -> None:
        came.append((time.monotonic(), message.data))
        if len(came) == load.documents:
            complete.set()

    client = await nats.connect(url)
    await client.jetstream().subscribe(
        subjects,
        cb=take,
        ordered_consumer=True,
        config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
    )
    end_at = ready() + load.end_s
    await asyncio.wait_for(complete.wait(), end_at - time.monotonic())
    await client.close()
    return [(int(orjson.loads(data)["documentKey"]["_id"]), at) for at, data in came]


def publish(ready: Ready, url: str, subject: str, load: Load) -> Sequence[float]:
    """Publish a message for each call; return when after its moment each was acknowledged."""
    return asyncio.run(_publish(ready, url, subject, load))


async def _publish(ready: Ready, url: str, subject: str, load: Load) -> Sequence[float]:
    client = await nats.connect(url)
    jetstream = client.jetstream()
    payload = _TEXT.encode() * 4
    start_at = ready()
    took_s = []
    for call in range(load.calls):
        due_at = start_at + load.due_s(call)
        await asyncio.sleep(max(0.0, due_at - time.monotonic()))
        await jetstream.publish(subject, payload, headers={"Nats-Msg-Id": str(load.first + call)})
        if load.due_s(call) >= load.warm_up_s:
            took_s.append(time.monotonic() - due_at)
    await client.close()
    return sorted(took_s)
