"""What capture needs of a source of change events; `mnc.drivers.mongo` provides it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mnc.model import ClusterTime, Namespace, ResumeToken

__all__ = [
    "ChangeDocument",
    "ChangeSource",
    "ChangeStream",
    "Chunk",
    "Document",
    "DocumentSource",
    "Open",
    "Reply",
    "StartAfter",
    "StartAt",
]

ChangeDocument = Mapping[str, object]
"""A decoded change event; read by field name, because MongoDB's field order varies."""


@dataclass(frozen=True, slots=True)
class StartAt:
    """Open a change stream at a cluster time, its own events included.

    It is exact whatever the filter, where a resume token is refused (code 280) once the event that
    it names doesn't pass the filter any more. The caller skips what is not after its own token.
    """

    cluster_time: ClusterTime


@dataclass(frozen=True, slots=True)
class StartAfter:
    """Open a change stream after an `invalidate` event, which closes any stream that reads it."""

    token: ResumeToken


Open = StartAt | StartAfter


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply of the server: events in commit order, and how far the reply reaches."""

    events: deque[ChangeDocument]
    """Whoever handles them takes them out, so that each is freed as soon as it may be."""
    token: ResumeToken
    """The post-batch resume token: everything up to it has been read."""
    size_bytes: int
    """The reply's size on the wire."""
    invalidated: bool
    """The server closed the cursor: open again with `StartAfter(token)`."""


class ChangeStream(Protocol):
    """One open cursor. Not safe for two tasks at once."""

    async def next_reply(self, *, batch_size: int) -> Reply:
        """Wait up to about half a second for events and return what there is, maybe nothing.

        `batch_size` bounds the events of the reply. Raises SourceError.

        Cancellation: takes effect after the server's answer; the reply is lost, the position isn't.
        """
        ...

    async def aclose(self) -> None:
        """Close the cursor on the server, if it can be reached; never raises."""
        ...


class ChangeSource(Protocol):
    """A database whose changes can be read."""

    async def current_token(self) -> ResumeToken:
        """Return a token that stands after everything committed so far. Raises SourceError."""
        ...

    async def open(self, collections: Collection[str], *, start: Open) -> ChangeStream:
        """Open a change stream over `collections`, which go by their keys.

        Raises ForeignPositionError when `start` lies in the future, and SourceError otherwise. That
        it is no longer in the oplog is a PositionLostError here or of the first reply.
        """
        ...

    async def check_history(self, since: ClusterTime) -> None:
        """Ask whether the oplog still reaches back to `since`, in about half a second at most.

        Raises PositionLostError when it doesn't, and SourceError otherwise.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document of a collection, as it is now."""

    change: ChangeDocument | None
    """What a change stream would say of it, without a token; None if the pipeline leaves it out."""
    key: str
    """Its `_id`, as the source writes it for itself: ASCII, of bounded length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some documents of a collection in the order of their `_id`, whatever its type."""

    documents: Sequence[Document]
    """None at the end of the collection."""
    size_bytes: int
    """The reply's size on the wire."""


class DocumentSource(Protocol):
    """A database whose collections can be read."""

    async def read(
        self, namespace: Namespace, *, after: str, since: ClusterTime, limit: int, pipeline: str
    ) -> Chunk:
        """Return the documents that follow the key `after`, from the first one on if it is empty.

        At least everything that was committed up to `since` is in them; `pipeline` is that of
        CaptureOptions. Raises SourceError.

        Cancellation: nothing has changed.
        """
        ...

    async def estimate(self, namespace: Namespace) -> int:
        """Return about how many documents there are. Raises SourceError."""
        ...
