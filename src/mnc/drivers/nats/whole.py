"""Messages with their payloads, wherever these are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from mnc.drivers.nats.resolve import PayloadMismatchError, resolve
from mnc.drivers.nats.session import NatsSession
from mnc.encode.reference import PAYLOAD_HEADER
from mnc.terminal.ports import MessageSource, StreamMessage

__all__ = ["WholeMessages"]


class WholeMessages:
    """A source of messages that have their payloads themselves.

    A message that refers to a payload is returned alone, so that one is in memory at a time. It is
    returned as it is when the payload can't be read any more.
    """

    def __init__(self, source: MessageSource, session: NatsSession) -> None:
        self._source = source
        self._session = session
        self._waiting: Sequence[StreamMessage] = ()

    async def next_batch(self) -> Sequence[StreamMessage]:
        """Return the next messages; see `MessageSource.next_batch`."""
        if not self._waiting:
            self._waiting = await self._source.next_batch()
        waiting = self._waiting
        plain = next(
            (at for at, message in enumerate(waiting) if PAYLOAD_HEADER in message.headers),
            len(waiting),
        )
        if plain or not waiting:
            self._waiting = waiting[plain:]
            return waiting[:plain]
        payload = await self._session.call(_payload, waiting[0])
        self._waiting = waiting[1:]
        return [replace(waiting[0], payload=payload)]


async def _payload(client: Client, message: StreamMessage) -> bytes:
    stored = Msg(
        _client=client,
        subject=message.subject,
        data=message.payload,
        headers=dict(message.headers),
    )
    try:
        return await resolve(client.jetstream(), stored)
    except (nats.errors.Error, PayloadMismatchError, TimeoutError, ValueError):
        return message.payload
