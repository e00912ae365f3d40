"""What tests ask of JetStream, without any code of mnc's and without an event loop to keep.

A `url` is what a client connects to: one server's, or several with commas between them.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

__all__ = [
    "StoredMessage",
    "ask_jetstream",
    "create_stream",
    "last_of_subject",
    "publish_message",
    "read_messages",
    "visit_messages",
]

_TIMEOUT_S = 5
_FETCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """One message of a stream."""

    stream_seq: int
    stored_at: datetime
    subject: str
    headers: Mapping[str, str]
    payload: bytes


def ask_jetstream(url: str, verb: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Send one request of JetStream's API, such as `STREAM.INFO.cs`, and return its answer."""
    payload = b"" if body is None else json.dumps(body).encode()

    async def ask() -> bytes:
        client = await nats.connect(url.split(","))
        try:
            return (await client.request(f"$JS.API.{verb}", payload, timeout=_TIMEOUT_S)).data
        finally:
            await client.close()

    answer: dict[str, Any] = json.loads(asyncio.run(ask()))
    return answer


def create_stream(url: str, stream: str, *, duplicate_window_s: float, replicas: int = 1) -> None:
    """Create a stream for mnc that remembers message ids no longer than `duplicate_window_s`.

    The least that JetStream allows is 0.1. What mnc's batches need is left to mnc to add.
    """
    answer = ask_jetstream(
        url,
        f"STREAM.CREATE.{stream}",
        {
            "name": stream,
            "subjects": [f"{stream}.*.*.*"],
            "discard": "new",
            "num_replicas": replicas,
            "duplicate_window": round(duplicate_window_s * 1e9),
        },
    )
    assert "error" not in answer, answer


def last_of_subject(url: str, stream: str, subject: str) -> StoredMessage | None:
    """Return the last message of a subject, or None."""
    answer = ask_jetstream(url, f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
    if "error" in answer:
        return None
    message = answer["message"]
    return StoredMessage(
        stream_seq=message["seq"],
        stored_at=datetime.fromisoformat(message["time"]),
        subject=message["subject"],
        headers={},
        payload=base64.b64decode(message["data"]),
    )


def publish_message(url: str, subject: str, payload: bytes) -> None:
    """Publish a message as anybody may, and return when the stream has stored it."""

    async def publish() -> None:
        client = await nats.connect(url)
        try:
            await client.jetstream().publish(subject, payload)
        finally:
            await client.close()

    asyncio.run(publish())


def read_messages(url: str, stream: str, *, first_seq: int = 1) -> Sequence[StoredMessage]:
    """Return what the stream holds from `first_seq` on, in order."""
    messages: list[StoredMessage] = []
    visit_messages(url, stream, messages.append, first_seq=first_seq)
    return messages


def visit_messages(
    url: str, stream: str, visit: Callable[[StoredMessage], None], *, first_seq: int = 1
) -> None:
    """Call `visit` for what the stream holds from `first_seq` on, in order, and keep none of it."""

    async def read() -> None:
        client = await nats.connect(url.split(","))
        try:
            jetstream = client.jetstream()
            consumer = await jetstream.pull_subscribe(
                ">",
                stream=stream,
                config=ConsumerConfig(
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=first_seq,
                    ack_policy=AckPolicy.NONE,
                    mem_storage=True,
                ),
            )
            pending = (await consumer.consumer_info()).num_pending or 0
            while pending:
                try:
                    fetched = await consumer.fetch(min(_FETCH, pending), timeout=_TIMEOUT_S)
                except nats.errors.TimeoutError:
                    # What was pending may have been a marker that has been replaced since.
                    if (await consumer.consumer_info()).num_pending:
                        raise
                    break
                for message in fetched:
                    visit(
                        StoredMessage(
                            stream_seq=message.metadata.sequence.stream,
                            stored_at=message.metadata.timestamp,
                            subject=message.subject,
                            headers=message.headers or {},
                            payload=message.data,
                        )
                    )
                pending = fetched[-1].metadata.num_pending
            await consumer.unsubscribe()
        finally:
            await client.close()

    asyncio.run(read())
