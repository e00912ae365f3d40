"""The port of the publish stage: a JetStream stream in memory, with its faults.

Theory of operation. A batch that was sent *lands* at a time of its own, whatever its sender does
meanwhile: it is judged (fence, message ids, room) and stored as a whole or not at all. Whether the
sender hears of it is another matter. So a lost acknowledgement, a batch that never arrives, and one
that is stored long after its sender gave up are the same thing with other times. Landing happens
when anybody next looks, in the order of the times, which nobody can tell from landing in time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import trio
from tests.fakes.faults import Faults, Latency, Script, one_millisecond
from trio_util import AsyncBool

from mnc.errors import (
    DuplicateInBatchError,
    FenceLostError,
    OutcomeUnknownError,
    PayloadTooLargeError,
    SinkError,
    SinkRefusedError,
    SinkUnavailableError,
    StreamFullError,
    StreamMissingError,
)
from mnc.model import Checkpoint, EncodedEvent, StreamSeq
from mnc.publish.ports import Batch

__all__ = [
    "LOST_ACK",
    "NEVER_STORED",
    "FakeMessage",
    "FakeStream",
    "PublishFault",
    "Unanswered",
    "stored_after",
]

_MAX_PAYLOAD_BYTES = 1024 * 1024
_REFUSAL = 10999


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A batch that is sent and never answered."""

    stores_after_s: float | None
    """When it lands; None for never."""


LOST_ACK = Unanswered(stores_after_s=0.0)
NEVER_STORED = Unanswered(stores_after_s=None)


def stored_after(seconds: float) -> Unanswered:
    """Return the fault of a batch that is given up, and lands `seconds` after it was sent."""
    return Unanswered(stores_after_s=seconds)


PublishFault = Unanswered | SinkError
"""An error on its own means that nothing is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeMessage:
    """One message of the stream: an event, or a position marker."""

    stream_seq: StreamSeq
    subject: str
    content: EncodedEvent | Checkpoint


@dataclass(order=True)
class _Flight:
    """A batch on its way, and what became of it."""

    lands_at: float
    number: int
    batch: Batch = field(compare=False)
    outcome: StreamSeq | SinkError | None = field(default=None, compare=False)


class FakeStream:
    """One stream. It doesn't exist until `ensure` makes it."""

    def __init__(
        self,
        *,
        latency: Latency = one_millisecond,
        answer_timeout_s: float = 1.0,
        duplicate_window_s: float = 120.0,
    ) -> None:
        self.publish_faults: Faults[PublishFault] = Script()
        self.read_faults: Faults[SinkError] = Script()
        self.ensure_faults: Faults[SinkError] = Script()
        self.refused: Callable[[EncodedEvent], bool] = lambda _: False
        """Says which events JetStream refuses for a reason of its own."""
        self.max_messages: int | None = None
        self.batches: list[Batch] = []
        """Every batch that was sent, in order."""
        self.first_markers: dict[str, Checkpoint] = {}
        """What the first marker of each subject ever said."""
        self._latency = latency
        self._answer_timeout_s = answer_timeout_s
        self._duplicate_window_s = duplicate_window_s
        self._connected = AsyncBool(True)
        self._exists = False
        self._messages: list[FakeMessage] = []
        self._last_seq = 0
        self._stored_at: dict[str, float] = {}
        self._flights: list[_Flight] = []
        self._numbers = count()

    # --- the port --------------------------------------------------------------------------------

    async def ensure(self) -> None:
        """Create the stream unless it exists."""
        await self.wait_connected()
        fault = self.ensure_faults()
        await self._answer()
        if fault is not None:
            raise fault
        self._exists = True

    async def wait_connected(self) -> None:
        """Return when there is a connection."""
        await self._connected.wait_value(True)

    async def read_marker(self, marker_subject: str) -> Checkpoint | None:
        """Return what the last message of `marker_subject` says."""
        self._require_connection()
        fault = self.read_faults()
        await self._answer()
        if fault is not None:
            raise fault
        if not self._exists:
            raise StreamMissingError("there is no such stream")
        return self._marker(marker_subject)

    async def read_position(self, marker_subject: str) -> Checkpoint | None:
        """Return the same as `read_marker`: every event has its marker."""
        return await self.read_marker(marker_subject)

    async def publish(self, batch: Batch) -> StreamSeq:
        """Store a batch behind its fence."""
        self._require_connection()
        if any(len(event.payload) > _MAX_PAYLOAD_BYTES for event in batch.events):
            raise PayloadTooLargeError("an event is over max_payload")
        self.batches.append(batch)
        fault = self.publish_faults()
        if isinstance(fault, SinkError):
            await self._answer()
            raise fault
        latency_s = self._latency()
        flight = self._send(batch, latency_s / 2 if fault is None else fault.stores_after_s)
        with trio.move_on_after(latency_s if fault is None else self._answer_timeout_s):
            await self._connected.wait_value(False)
            raise OutcomeUnknownError("the connection broke before the answer came")
        self._land()
        if fault is not None or flight.outcome is None:
            raise OutcomeUnknownError("no answer in time")
        if isinstance(flight.outcome, SinkError):
            raise flight.outcome
        return flight.outcome

    # --- what a test does and sees ---------------------------------------------------------------

    @property
    def messages(self) -> Sequence[FakeMessage]:
        """What the stream holds now, in order, markers included."""
        self._land()
        return tuple(self._messages)

    @property
    def events(self) -> Sequence[EncodedEvent]:
        """The events that the stream holds now, in order."""
        return [
            message.content
            for message in self.messages
            if isinstance(message.content, EncodedEvent)
        ]

    def marker(self, marker_subject: str) -> Checkpoint | None:
        """Return what the marker says now."""
        self._land()
        return self._marker(marker_subject)

    def disconnect(self) -> None:
        """Break the connection; what was sent may still land."""
        self._connected.value = False

    def connect(self) -> None:
        """Restore the connection."""
        self._connected.value = True

    def delete(self) -> None:
        """Remove the stream with all that it knows."""
        self._land()
        self._exists = False
        self._messages.clear()
        self._stored_at.clear()
        self._last_seq = 0

    def purge(self) -> None:
        """Remove every message; sequences go on, and message ids stay known."""
        self._land()
        self._messages.clear()

    # --- the server ------------------------------------------------------------------------------

    def _require_connection(self) -> None:
        if not self._connected.value:
            raise SinkUnavailableError("there is no connection")

    async def _answer(self) -> None:
        """Let a request that changes nothing take its time."""
        with trio.move_on_after(self._latency()):
            await self._connected.wait_value(False)
            raise SinkUnavailableError("the connection broke before the answer came")
        self._land()

    def _send(self, batch: Batch, lands_after_s: float | None) -> _Flight:
        lands_at = float("inf") if lands_after_s is None else trio.current_time() + lands_after_s
        flight = _Flight(lands_at, next(self._numbers), batch)
        heapq.heappush(self._flights, flight)
        return flight

    def _land(self) -> None:
        now = trio.current_time()
        while self._flights and self._flights[0].lands_at <= now:
            flight = heapq.heappop(self._flights)
            try:
                flight.outcome = self._store(flight.batch, at=flight.lands_at)
            except SinkError as error:
                flight.outcome = error

    def _store(self, batch: Batch, *, at: float) -> StreamSeq:
        if not self._exists:
            raise SinkUnavailableError("no JetStream answers: no such stream")
        if any(map(self.refused, batch.events)):
            raise SinkRefusedError("no such message", code=_REFUSAL)
        for event in batch.events:
            if at - self._stored_at.get(event.message_id, float("-inf")) < self._duplicate_window_s:
                raise DuplicateInBatchError("a message of the batch is stored already")
        marker = self._marker(batch.marker_subject)
        if batch.expected_seq != (0 if marker is None else marker.stream_seq):
            raise FenceLostError("wrong last sequence")
        room = float("inf") if self.max_messages is None else self.max_messages
        if len(self._messages) + len(batch.events) + 1 > room:
            raise StreamFullError("maximum messages exceeded")
        for event in batch.events:
            self._append(event.subject, event)
            self._stored_at[event.message_id] = at
        self._messages = [
            message for message in self._messages if message.subject != batch.marker_subject
        ]
        stream_seq = StreamSeq(self._last_seq + 1)
        position = Checkpoint(position=batch.position, stream_seq=stream_seq)
        self._append(batch.marker_subject, position)
        self.first_markers.setdefault(batch.marker_subject, position)
        return stream_seq

    def _append(self, subject: str, content: EncodedEvent | Checkpoint) -> None:
        self._last_seq += 1
        seq = StreamSeq(self._last_seq)
        self._messages.append(FakeMessage(stream_seq=seq, subject=subject, content=content))

    def _marker(self, marker_subject: str) -> Checkpoint | None:
        for message in reversed(self._messages):
            if message.subject == marker_subject:
                assert isinstance(message.content, Checkpoint)
                return message.content
        return None
