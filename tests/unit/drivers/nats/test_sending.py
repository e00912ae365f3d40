"""A batch on its way to the broker leaves turns to other tasks of the event loop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping

import pytest
from nats.aio.client import Client
from tests.fakes.values import checkpoint, events

from mnc.config import NatsSecurity
from mnc.drivers.nats.atomic import AtomicWriter
from mnc.drivers.nats.chained import ChainedWriter
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream_api import StreamApi
from mnc.model import StreamSeq
from mnc.publish.ports import Batch

EVENTS = events(1, 999)


class _Client(Client):
    """Counts what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.published = 0

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Count a message."""
        del subject, payload, reply, headers
        self.published += 1


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


async def _send_atomic(client: Client) -> None:
    await AtomicWriter(_api())._send(client, _BATCH)


async def _send_chained(client: Client) -> None:
    await ChainedWriter(_api(), window=1000)._send(client, _BATCH, tail=StreamSeq(0))


@pytest.mark.parametrize("send", [_send_atomic, _send_chained])
def test_other_tasks_have_turns_while_a_batch_is_sent(
    send: Callable[[Client], Awaitable[None]],
) -> None:
    """However large a batch, at most 64 of its messages are written at once."""

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
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 64
