"""Publishing without atomic batches: in chains, or one message at a time.

Theory of operation. Events go out in *windows*, one in flight for the whole stream. The first
message of a window names the stream's last sequence, which was looked up together with the
collection's last event: it is stored only if nothing was since. Each further one names the message
id of its predecessor, and is stored only directly behind it. So whoever writes beside us, and
however long we sleep, an event is stored only behind the one that precedes it: what a window
leaves is a beginning of it, in order. Only the last message asks for an answer.

Nobody puts a marker behind a chain but who takes over to publish in batches, and batches are fenced
by the marker alone. So a chain ends there, whatever event the marker names.

An answer moves what is known. After anything else everything is forgotten, and looked up again. A
message id alone would not do for the first of a window: a server that restarts remembers it no
longer than the duplicate window.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import trio

from mnc.drivers.nats.client import MendedClient
from mnc.drivers.nats.positions import last_positions
from mnc.drivers.nats.replies import raise_error
from mnc.drivers.nats.sending import headers_of, turns, written, written_headers
from mnc.drivers.nats.stream_api import StreamApi
from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    OutcomeUnknownError,
    SinkUnavailableError,
)
from mnc.model import Checkpoint, StreamSeq
from mnc.publish.ports import Batch

__all__ = ["ChainedWriter"]

_RACES = 5
"""How often a window is sent again at once because other collections' writers were first."""

_FIRST = StreamSeq(0)


class ChainedWriter:
    """Store events in windows of at most `window` messages.

    Invariants: one window is in flight; `_lasts` was true when `_tail` was the stream's last
    sequence, so a window that is stored behind `_tail` is stored behind those.
    """

    def __init__(self, api: StreamApi, *, window: int) -> None:
        self._api = api
        self._window = window
        self._lock = trio.Lock()
        self._tail: StreamSeq | None = None
        self._lasts: dict[str, StreamSeq] = {}
        """The sequence of each collection's last event or marker, by the marker's subject."""
        self._markers: dict[str, StreamSeq] = {}
        """The sequence of each collection's marker when it was acquired; 0 for none."""

    async def read_marker(self, marker_subject: str) -> Checkpoint | None:
        """Return what the collection's last message says; see `StreamPort.read_marker`.

        Raises FenceLostError when a marker is there that was not when the collection was acquired.
        """
        last = await last_positions(self._api, marker_subject)
        seq = _seq_of(last.marker)
        if seq > self._markers.setdefault(marker_subject, seq):
            raise FenceLostError("another writer publishes the collection in batches now")
        return last.latest

    async def read_position(self, marker_subject: str) -> Checkpoint | None:
        """Return what the collection's last message says: it is position and fence."""
        last = await last_positions(self._api, marker_subject)
        self._markers[marker_subject] = _seq_of(last.marker)
        return last.latest

    async def publish(self, batch: Batch) -> StreamSeq:
        """Store a batch, window after window; see `StreamPort.publish`.

        Whatever it raises, a beginning of the batch may be stored, and the last event shows it.
        Without events it stores nothing.
        """
        rest, seq = batch.events, batch.expected_seq
        while rest:
            async with self._lock:
                stored, seq = await self._store(
                    replace(batch, events=rest[: self._window], expected_seq=seq)
                )
            rest = rest[stored:]
        return seq

    async def _store(self, batch: Batch) -> tuple[int, StreamSeq]:
        """Store a batch's events, or the first; return how many, and the last one's sequence."""
        marker_subject, expected_seq = batch.marker_subject, batch.expected_seq
        for _ in range(_RACES):
            if self._lasts.get(marker_subject, expected_seq) != expected_seq:
                # Who calls may have read the position since.
                self._lasts, self._tail = {}, None
            tail = await self._look(marker_subject)
            if self._lasts[marker_subject] != expected_seq:
                raise FenceLostError("the collection's last event is not where it was left")
            # Forgotten BEFORE the window is sent: only its answer says what is true afterwards.
            lasts, self._lasts, self._tail = self._lasts, {}, None
            reply = await self._api.session.call(self._send, batch, tail=tail)
            try:
                raise_error(reply, stream=self._api.stream)
            except (FenceLostError, OutcomeUnknownError):
                if await self._look(marker_subject) == tail:
                    if len(batch.events) == 1:
                        raise
                    # The first one was refused already, and only an answer of its own says why.
                    batch = replace(batch, events=batch.events[:1])
                continue
            if reply.get("duplicate"):
                raise DuplicateInBatchError("the stream has the last event of the row already")
            seq = StreamSeq(tail + len(batch.events))
            if reply.get("seq") != seq:
                raise OutcomeUnknownError("JetStream's answer doesn't fit the events")
            self._lasts, self._tail = lasts | {marker_subject: seq}, seq
            return len(batch.events), seq
        raise SinkUnavailableError("other writers of the stream were always first")

    async def _look(self, marker_subject: str) -> StreamSeq:
        """Return the stream's last sequence, for which `_lasts` has the collection's."""
        while self._tail is None or marker_subject not in self._lasts:
            if self._tail is None:
                self._tail = await self._api.last_seq()
            seq = _seq_of(await self.read_marker(marker_subject))
            if seq > self._tail:  # stored between the two looks
                self._lasts, self._tail = {}, None
            else:
                self._lasts[marker_subject] = seq
        return self._tail

    # --- on the asyncio side --------------------------------------------------------------------

    async def _send(
        self, client: MendedClient, batch: Batch, *, tail: StreamSeq
    ) -> dict[str, object]:
        stream = {**batch.headers, "Nats-Expected-Stream": self._api.stream}
        places = [
            {**stream, "Nats-Expected-Last-Sequence": str(tail)},
            *(
                {**stream, "Nats-Expected-Last-Msg-Id": event.message_id}
                for event in batch.events[:-1]
            ),
        ]
        *others, (last, place) = zip(batch.events, places, strict=True)
        for messages in turns(
            written(event, written_headers(place.items())) for event, place in others
        ):
            await client.send(messages)
            await asyncio.sleep(0)
        return await self._api.request(client, last.subject, last.payload, headers_of(last, place))


def _seq_of(position: Checkpoint | None) -> StreamSeq:
    return _FIRST if position is None else position.stream_seq
