"""Messages as they are written, and the turns that a batch leaves to others on its way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence

import nats.errors
import pytest
from nats.aio.client import Client
from tests.fakes.values import checkpoint, events

from mnc.config import NatsSecurity
from mnc.drivers.nats.atomic import AtomicWriter
from mnc.drivers.nats.chained import ChainedWriter
from mnc.drivers.nats.client import MendedClient
from mnc.drivers.nats.sending import headers_of, written, written_headers
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream_api import StreamApi
from mnc.model import StreamSeq
from mnc.publish.ports import Batch

EVENTS = events(1, 999)


class _Client(MendedClient):
    """Counts what is sent."""

    def __init__(self) -> None:
        super().__init__(demands_tls=False)
        self.published = 0

    async def send(self, messages: Sequence[bytes]) -> None:
        """Count messages."""
        self.published += len(messages)


class _Api(StreamApi):
    """Answers at once."""

    async def request(
        self,
        client: Client,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, object]:
        """Return an empty answer."""
        del client, subject, payload, headers
        return {}


def _api() -> StreamApi:
    session = NatsSession(["nats://127.0.0.1:4222"], name="test", security=NatsSecurity())
    return _Api(session, stream="cs", timeout_s=1)


_BATCH = Batch(
    events=EVENTS,
    marker_subject="cs_position.users",
    position=checkpoint(999, stream_seq=0).position,
    expected_seq=StreamSeq(0),
    headers={"traceparent": "00-1-2-01"},
)


async def _send_atomic(client: MendedClient) -> None:
    await AtomicWriter(_api())._send(client, _BATCH)


async def _send_chained(client: MendedClient) -> None:
    await ChainedWriter(_api(), window=1000)._send(client, _BATCH, tail=StreamSeq(0))


@pytest.mark.parametrize("send", [_send_atomic, _send_chained])
def test_other_tasks_have_turns_while_a_batch_is_sent(
    send: Callable[[MendedClient], Awaitable[None]],
) -> None:
    """However large a batch, at most 512 of its messages are written at once."""

    async def run() -> list[int]:
        client = _Client()
        seen = [0]
        sending = asyncio.ensure_future(send(client))
        while not sending.done():
            await asyncio.sleep(0)
            seen.append(client.published)
        return seen

    seen = asyncio.run(run())
    assert seen[-1] >= len(EVENTS) - 1
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 512


def test_a_message_is_written_as_nats_py_writes_it() -> None:
    """Whatever headers and payload an event has, the broker is sent what nats-py would send."""
    place = {"Nats-Batch-Id": "abc", "Nats-Batch-Sequence": "12"}
    plain = EVENTS[0]
    empty = plain._replace(payload=b"")
    dead = plain._replace(headers=(("Mnc-Error", "too large: 3 MB"), ("Mnc-Subject", "cs.a.b.1")))
    binary = plain._replace(payload="größer\r\n".encode())
    for event in (plain, empty, dead, binary):
        expected = asyncio.run(_as_nats_py(event.subject, event.payload, headers_of(event, place)))
        assert written(event, written_headers(place.items())) == expected


async def _as_nats_py(subject: str, payload: bytes, headers: dict[str, str]) -> bytes:
    """Return what nats-py writes, without the second space where a reply's subject would stand."""
    client = Client()
    client._status = Client.CONNECTED
    client._max_payload = len(payload)
    await client.publish(subject, payload, headers=headers)
    (sent,) = client._pending
    return sent.replace(f"{subject}  ".encode(), f"{subject} ".encode(), 1)


def test_nothing_is_sent_without_a_connection() -> None:
    """Messages fail at once while the client reconnects or is closed: nothing goes out late."""

    async def send(status: int) -> None:
        client = MendedClient(demands_tls=False)
        client._status = status
        await client.send([b"HPUB"])

    with pytest.raises(nats.errors.OutboundBufferLimitError):
        asyncio.run(send(Client.RECONNECTING))
    with pytest.raises(nats.errors.ConnectionClosedError):
        asyncio.run(send(Client.CLOSED))
