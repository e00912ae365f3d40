"""What publishing needs of a JetStream stream; `mnc.drivers.nats` provides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

from mnc.encode.reference import PayloadReference
from mnc.model import Checkpoint, EncodedEvent, Position, StreamSeq

__all__ = ["Batch", "PayloadStore", "StreamPort"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is stored as a whole or not at all: events in order, then the marker that covers them.

    Without events it only puts the marker there.

    `expected_seq` is the fence: the stream refuses the batch unless the last message of
    `marker_subject` has this sequence (0: there is none).
    """

    events: Sequence[EncodedEvent]
    marker_subject: str
    position: Position
    expected_seq: StreamSeq
    headers: Mapping[str, str] = field(default_factory=dict)
    """For the message of every event, beside its own: the context of a trace."""

    @property
    def size_bytes(self) -> int:
        """The size of the payloads, without headers and the marker."""
        return sum(map(len, map(attrgetter("payload"), self.events)))


class StreamPort(Protocol):
    """One JetStream stream. Safe for several tasks at once."""

    async def ensure(self) -> None:
        """Create the stream, or add what it lacks of what fenced batches need.

        Raises SinkRefusedError with the remedy when that isn't possible, SinkUnavailableError when
        NATS or JetStream can't be reached.

        Cancellation: the stream may have been created or changed.
        """
        ...

    async def wait_connected(self) -> None:
        """Return when there is a connection to NATS."""
        ...

    async def read_marker(self, marker_subject: str) -> Checkpoint | None:
        """Return what the last message of `marker_subject` says, and its own sequence.

        None when there is no such message. It is read from the stream's leader.

        Raises SinkUnavailableError, StreamMissingError, SinkRefusedError; FenceLostError when it
        shows that another writer publishes the collection in another way.
        """
        ...

    async def read_position(self, marker_subject: str) -> Checkpoint | None:
        """Return where the collection stands, to begin there, and the fence for its first batch.

        None when the stream has nothing of it. It may be behind the last marker: a stream that had
        no atomic batches before holds events without one. It has a marker for them afterwards.

        Raises SinkUnavailableError, StreamMissingError, SinkRefusedError.

        Cancellation: a marker may have been stored.
        """
        ...

    async def publish(self, batch: Batch) -> StreamSeq:
        """Store a batch; return the sequence of its marker, which is the next fence.

        Raises, with the batch not stored: FenceLostError, DuplicateInBatchError, StreamFullError,
        PayloadTooLargeError, SinkRefusedError, SinkUnavailableError.
        Raises OutcomeUnknownError when the batch may be stored, now or later.

        Cancellation: the batch may be stored, now or later.
        """
        ...


class PayloadStore(Protocol):
    """Where payloads are kept that are too large for the stream. Safe for several tasks at once."""

    async def put(self, name: str, payload: bytes) -> PayloadReference:
        """Keep `payload` under `name`; return where it is.

        Idempotent: what is there already isn't stored again. Returns once it can be read.

        Raises SinkUnavailableError, StreamFullError, SinkRefusedError.

        Cancellation: the payload may be stored, or a part of it that nothing refers to.
        """
        ...
