"""The nouns that every stage shares: namespaces, resume tokens, positions and encoded events.

Everything here is immutable and knows nothing of MongoDB's or NATS's clients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, NamedTuple, NewType

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
    "Snapshot",
    "StoredOperation",
    "StreamSeq",
    "collection_key",
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

StoredOperation = Operation | Literal["read"]
"""What a message in the stream may be: `read` is a document that was there already."""

DOCUMENT_OPERATIONS: Final = frozenset[StoredOperation](
    {"insert", "update", "replace", "delete", "read"}
)
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
    """A collection, by the name of its database and its own.

    Invariants: `of` and `collection_key` are each other's inverse, whatever `home` is.
    """

    database: str
    collection: str

    @classmethod
    def of(cls, key: str, *, home: str) -> Namespace:
        """Return the collection that has `key`; see `collection_key`."""
        database, dot, collection = key.partition(".")
        if not dot:
            return cls(database=home, collection=key)
        return cls(database=database, collection=collection)

    def __str__(self) -> str:
        return f"{self.database}.{self.collection}"


def collection_key(database: str, collection: str, *, home: str) -> str:
    """Return the one string that stands for a collection everywhere: in subjects, in the cluster.

    `home` is the database that MONGO_URI names. A collection of it has its own name for a key,
    unless there is a dot in that; any other has its database before it, with a dot. A database's
    name has no dot, so no two collections have the same key.
    """
    if database == home and "." not in collection:
        return collection
    return f"{database}.{collection}"


@dataclass(frozen=True, slots=True, order=True)
class ClusterTime:
    """A time in MongoDB's oplog: seconds since 1970 and a counter within the second."""

    seconds: int
    increment: int


@dataclass(frozen=True, slots=True, order=True, init=False)
class ResumeToken:
    """A change stream's resume token.

    Invariants: two tokens of one cluster compare as their events were committed; `data` alone
    decides that. `type_bits` only says how to give the numbers of a document key back their types.
    `data` has at most TOKEN_LIMIT digits: a longer one is cut, which doesn't change how it
    compares, and MongoDB can't resume after it any more. Neither can it after those of a Snapshot.
    """

    data: str
    """`_data` of the token: upper-case hexadecimal; where it was cut there is a `G`."""

    type_bits: bytes | None = field(default=None, compare=False)
    """`_typeBits` of the token, which MongoDB adds when a document key holds certain numbers."""

    def __init__(self, data: str, type_bits: bytes | None = None) -> None:
        # Written out: it takes half as long as a generated one and `__post_init__`.
        if len(data) > TOKEN_LIMIT and not data.endswith(_CUT):
            data, type_bits = data[:TOKEN_LIMIT] + _CUT, None
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "type_bits", type_bits)

    @property
    def cluster_time(self) -> ClusterTime:
        """The cluster time that the token begins with.

        Raises ValueError when `data` is not a token's.
        """
        if len(self.data) < _INCREMENT.stop:
            raise ValueError("a resume token has at least 18 hexadecimal digits")
        return ClusterTime(int(self.data[_SECONDS], 16), int(self.data[_INCREMENT], 16))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How far the documents of a collection have been read, in the order of their `_id`.

    Invariants: of one snapshot, tokens sort as the documents were read, `end` after all of them;
    and they stand between `since` and whatever was committed after it, because no digit that
    follows in a token of MongoDB's sorts after what is added here.
    """

    since: ResumeToken
    """Where the change stream goes on once all documents are read."""
    documents: int = 0
    """How many have been read."""
    after: str = ""
    """The `_id` of the last one, as the source writes it for itself; empty before the first."""

    @property
    def token(self) -> ResumeToken:
        """What names the last document that was read, in a position.

        The digest tells apart what two runs read as the same number: documents come and go.
        """
        digest = sha256(self.after.encode()).hexdigest()[:16].upper()
        return ResumeToken(f"{self.since.data}S{self.documents:012X}{digest}{_CUT}")

    @property
    def end(self) -> ResumeToken:
        """What names the end of the snapshot, in a position."""
        return ResumeToken(f"{self.since.data}T{_CUT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a collection's events are stored: every event up to and including `token`."""

    token: ResumeToken
    epoch: Epoch = SINGLE_INSTANCE
    snapshot: Snapshot | None = None
    """The snapshot that isn't complete yet; `token` is its token then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A position together with the fence that it was true for.

    `stream_seq` is the sequence of the collection's position marker at that time, 0 when there was
    none. The marker itself reads as one of these, and so does the token document in MongoDB, which
    may lag behind the marker, and be ahead only with the same `stream_seq` (idle progress).
    """

    position: Position
    stream_seq: StreamSeq


class EncodedEvent(NamedTuple):
    """A change event as it goes to the stream."""

    token: ResumeToken
    operation: StoredOperation
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
    snapshot: Snapshot | None = None
    """How far a snapshot has come with it; None for a change."""

    @property
    def size_bytes(self) -> int:
        """What the event counts for in the byte budget."""
        return len(self.payload) + len(self.summary) + EVENT_OVERHEAD_BYTES
