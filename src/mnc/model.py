"""The nouns that every stage shares: namespaces, resume tokens, positions and encoded events.

Everything here is immutable and knows nothing of MongoDB's or NATS's clients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NewType

from mnc.errors import MncError

__all__ = [
    "DOCUMENT_OPERATIONS",
    "EVENT_OVERHEAD_BYTES",
    "EXPANDED_OPERATIONS",
    "SINGLE_INSTANCE",
    "TOKEN_LIMIT",
    "BeforeChange",
    "Checkpoint",
    "ClusterTime",
    "EncodedEvent",
    "Epoch",
    "FullDocument",
    "Namespace",
    "Operation",
    "Position",
    "ResumeToken",
    "StreamSeq",
]

StreamSeq = NewType("StreamSeq", int)
"""A message's sequence in its JetStream stream; 0 means "no message yet"."""

Epoch = NewType("Epoch", int)
"""Which of a collection's owners, each appointed later than the one before."""

SINGLE_INSTANCE: Final = Epoch(0)
"""The epoch of an instance that owns every collection for ever, without a cluster."""

Operation = Literal[
    "insert",
    "update",
    "replace",
    "delete",
    "drop",
    "rename",
    "dropDatabase",
    "invalidate",
    "create",
    "createIndexes",
    "dropIndexes",
    "modify",
    "shardCollection",
    "refineCollectionShardKey",
    "reshardCollection",
]
"""The operations of a change event that can be published; the names are MongoDB's."""

DOCUMENT_OPERATIONS: Final = frozenset[Operation]({"insert", "update", "replace", "delete"})
"""The operations on a document, whose events have its key."""

EXPANDED_OPERATIONS: Final = frozenset[Operation](
    {
        "create",
        "createIndexes",
        "dropIndexes",
        "modify",
        "shardCollection",
        "refineCollectionShardKey",
        "reshardCollection",
    }
)
"""The operations that a change stream has with `showExpandedEvents` alone."""

FullDocument = Literal["off", "updateLookup", "whenAvailable", "required"]
"""Where the document of an update comes from; MongoDB's names, but for "off"."""

BeforeChange = Literal["off", "whenAvailable", "required"]
"""Whether an event holds the document as it was before; the names are MongoDB's."""

_SECONDS = slice(2, 10)
_INCREMENT = slice(10, 18)

TOKEN_LIMIT: Final = 512
"""Hexadecimal digits of a resume token that are kept.

A token ends with the document's key, which may be megabytes, and positions hold tokens. What tells
an event from every other, its cluster time, its place in a transaction and its collection's UUID,
stands in the first hundred.
"""

_CUT = "G"
"""Sorts after every hexadecimal digit, so that a cut token covers the event that it came from."""

EVENT_OVERHEAD_BYTES = 512
"""What an event takes in memory beside its payload: 460 bytes of Python objects were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A collection, by the name of its database and its own."""

    database: str
    collection: str

    def __str__(self) -> str:
        return f"{self.database}.{self.collection}"


@dataclass(frozen=True, slots=True, order=True)
class ClusterTime:
    """A time in MongoDB's oplog: seconds since 1970 and a counter within the second."""

    seconds: int
    increment: int


@dataclass(frozen=True, slots=True, order=True)
class ResumeToken:
    """A change stream's resume token.

    Invariants: two tokens of one cluster compare as their events were committed; `data` alone
    decides that. `type_bits` only says how to give the numbers of a document key back their types.
    `data` has at most TOKEN_LIMIT digits: a longer one is cut, which doesn't change how it
    compares, and MongoDB can't resume after it any more.
    """

    data: str
    """`_data` of the token: upper-case hexadecimal; where it was cut there is a `G`."""

    type_bits: bytes | None = field(default=None, compare=False)
    """`_typeBits` of the token, which MongoDB adds when a document key holds certain numbers."""

    def __post_init__(self) -> None:
        if len(self.data) > TOKEN_LIMIT and not self.data.endswith(_CUT):
            object.__setattr__(self, "data", self.data[:TOKEN_LIMIT] + _CUT)
            object.__setattr__(self, "type_bits", None)

    @property
    def cluster_time(self) -> ClusterTime:
        """The cluster time that the token begins with.

        Raises ValueError when `data` is not a token's.
        """
        if len(self.data) < _INCREMENT.stop:
            raise ValueError("a resume token has at least 18 hexadecimal digits")
        return ClusterTime(int(self.data[_SECONDS], 16), int(self.data[_INCREMENT], 16))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a collection's events are stored: every event up to and including `token`."""

    token: ResumeToken
    epoch: Epoch = SINGLE_INSTANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A position together with the fence that it was true for.

    `stream_seq` is the sequence of the collection's position marker at that time, 0 when there was
    none. The marker itself reads as one of these, and so does the token document in MongoDB, which
    may lag behind the marker, and be ahead only with the same `stream_seq` (idle progress).
    """

    position: Position
    stream_seq: StreamSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedEvent:
    """A change event as it goes to the stream."""

    token: ResumeToken
    operation: Operation
    subject: str
    message_id: str
    """What JetStream recognises a repeat by: the resume token, or its digest when that is long."""
    payload: bytes
    """Relaxed Extended JSON in UTF-8."""
    committed_at_s: float
    """When MongoDB committed it, in seconds since 1970; whole ones before MongoDB 6.0."""
    summary: bytes = b""
    """What is left of a payload that has to go elsewhere; empty when the payload is small."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values beside the message id; ASCII."""
    dead_letter: MncError | None = None
    """Why the event goes to the dead letters; None when it goes where it belongs."""

    @property
    def size_bytes(self) -> int:
        """What the event counts for in the byte budget."""
        return len(self.payload) + len(self.summary) + EVENT_OVERHEAD_BYTES
