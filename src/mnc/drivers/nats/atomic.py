"""Publishing in atomic batches.

Theory of operation. An atomic batch is a row of messages that share `Nats-Batch-Id`; the server
keeps them aside and checks the fence and the message ids when the last one, marked
`Nats-Batch-Commit`, arrives. Then it stores all or none. Only that last message needs an answer. A
batch belongs to its id, not to its connection, so every attempt gets a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

from nats.nuid import NUID

from mnc.drivers.nats.client import MendedClient
from mnc.drivers.nats.positions import encode_position, last_marker, last_positions
from mnc.drivers.nats.replies import raise_error
from mnc.drivers.nats.sending import turns, written, written_headers
from mnc.drivers.nats.stream_api import StreamApi
from mnc.errors import FenceLostError, OutcomeUnknownError, SinkUnavailableError
from mnc.model import Checkpoint, StreamSeq
from mnc.publish.ports import Batch

__all__ = ["AtomicWriter"]

_TAKEOVERS = 5
"""Attempts to put a marker behind events while other collections are being written."""

_MARKER = {"Nats-Rollup": "sub", "Nats-TTL": "never"}
"""One marker stays for each collection, and no age removes it."""


class AtomicWriter:
    """Store a collection's events together with the marker that covers them."""

    def __init__(self, api: StreamApi) -> None:
        self._api = api
        self._nuid = NUID()

    async def read_marker(self, marker_subject: str) -> Checkpoint | None:
        """Return what the marker says; see `StreamPort.read_marker`."""
        return await last_marker(self._api, marker_subject)

    async def read_position(self, marker_subject: str) -> Checkpoint | None:
        """Return the marker's position, behind the collection's last event.

        Events behind the marker were stored without batches, before the stream had them. They get a
        marker here, for it alone fences a batch. That one is refused when anything was stored since
        the looks: who still writes without batches may have gone on. An event that stands behind
        the marker, and was committed before it, is a copy that somebody else has put there.
        """
        last = await last_positions(self._api, marker_subject)
        if last.unmarked is None:
            return last.marker
        for _ in range(_TAKEOVERS):
            tail = await self._api.last_seq()  # BEFORE the looks: it is their fence
            last = await last_positions(self._api, marker_subject)
            if last.unmarked is None:
                return last.marker
            try:
                return await self._take_over(marker_subject, last.unmarked, tail=tail)
            except FenceLostError:
                continue
            except OutcomeUnknownError as error:
                raise SinkUnavailableError(error.message) from error
        raise SinkUnavailableError("other writers were always first")

    async def publish(self, batch: Batch) -> StreamSeq:
        """Store a batch behind its fence; see `StreamPort.publish`."""
        reply = await self._api.session.call(self._send, batch)
        raise_error(reply, stream=self._api.stream)
        seq = reply.get("seq")
        if not isinstance(seq, int) or reply.get("count") != len(batch.events) + 1:
            raise OutcomeUnknownError("JetStream's answer doesn't fit the batch")
        return StreamSeq(seq)

    async def _take_over(
        self, marker_subject: str, event: Checkpoint, *, tail: StreamSeq
    ) -> Checkpoint:
        reply = await self._api.session.call(
            self._api.request,
            marker_subject,
            encode_position(event.position),
            {
                "Nats-Expected-Stream": self._api.stream,
                "Nats-Expected-Last-Sequence": str(tail),
                **_MARKER,
            },
        )
        raise_error(reply, stream=self._api.stream)
        seq = reply["seq"]
        assert isinstance(seq, int)  # noqa: S101 - JetStream's own format
        return Checkpoint(position=event.position, stream_seq=StreamSeq(seq))

    # --- on the asyncio side --------------------------------------------------------------------

    async def _send(self, client: MendedClient, batch: Batch) -> dict[str, object]:
        batch_id = self._nuid.next().decode()
        fence = {
            "Nats-Expected-Stream": self._api.stream,
            "Nats-Expected-Last-Subject-Sequence": str(batch.expected_seq),
            "Nats-Expected-Last-Subject-Sequence-Subject": batch.marker_subject,
        }
        places = _places(
            written_headers(fence.items()),
            written_headers([*batch.headers.items(), ("Nats-Batch-Id", batch_id)]),
        )
        for messages in turns(map(written, batch.events, places)):
            await client.send(messages)
            await asyncio.sleep(0)
        return await self._api.request(
            client,
            batch.marker_subject,
            encode_position(batch.position),
            {
                "Nats-Batch-Id": batch_id,
                "Nats-Batch-Sequence": str(len(batch.events) + 1),
                "Nats-Batch-Commit": "1",
                **_MARKER,
                **({} if batch.events else fence),
            },
        )


def _places(fence: str, batch: str) -> Iterator[str]:
    """Yield the headers of each place in a batch, the first of which has the fence."""
    yield f"{batch}Nats-Batch-Sequence: 1\r\n{fence}"
    for number in count(2):
        yield f"{batch}Nats-Batch-Sequence: {number}\r\n"
