"""A copier: the documents that a collection has already, handed to its route as `read` events.

Theory of operation. It stands in a reader's place until the collection has been read to its end, in
chunks by `_id`; then the change stream goes on from `since`, which was noted before the first
chunk. What changes meanwhile is stored once more, later, so the last message of a document is its
latest. Each event says how far the snapshot is with it: the route, the publisher and the fence
treat it like any other, and wherever the stream breaks off, the next copier goes on behind it.
The oplog has to reach back to `since` at the end, so it is asked every few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import trio

from mnc.capture.demultiplex import FIRST_BATCH_SIZE, Encode, next_batch_size
from mnc.capture.ports import ChangeSource, Chunk, Document, DocumentSource
from mnc.capture.route import Route
from mnc.encode.snapshot import header_of, placed
from mnc.model import EncodedEvent, Namespace, Snapshot

__all__ = ["Copier", "CopyObserver"]

_INLINE_ENCODE_BYTES = 32 * 1024
"""A chunk up to this size is encoded on the event loop, as a reader's reply is."""

_CHECK_S = 5.0
"""How often the oplog is asked whether it reaches back to the beginning."""


class CopyObserver(Protocol):
    """Hears what a copier does."""

    def copying(self, snapshot: Snapshot, /, *, estimated: int) -> None:
        """Hear that copying begins or goes on, in a collection of about so many documents."""
        ...

    def copied(self, snapshot: Snapshot, /) -> None:
        """Hear how far documents were handed to the route."""
        ...

    def copy_completed(self, snapshot: Snapshot, /) -> None:
        """Hear that all documents are stored, and that the stream says so."""
        ...


class Copier:
    """Read one collection's documents for its route.

    Invariants: what was handed to the route is all up to `snapshot`, but for what the pipeline
    leaves out; when `is_complete`, that was all.
    """

    def __init__(
        self,
        *,
        namespace: Namespace,
        snapshot: Snapshot,
        documents: DocumentSource,
        source: ChangeSource,
        encode: Encode,
        documents_per_s: int,
        pipeline: str,
        observer: CopyObserver,
    ) -> None:
        self.snapshot = snapshot
        self.is_complete = False
        self._namespace = namespace
        self._documents = documents
        self._source = source
        self._encode = encode
        self._documents_per_s = documents_per_s
        """0 is as fast as can be."""
        self._pipeline = pipeline
        """What the documents go through, as the collection's change events do."""
        self._observer = observer
        self._encode_limiter = trio.CapacityLimiter(1)
        self._next_check_at = float("-inf")

    async def run(self, route: Route) -> None:
        """Hand over the documents until there are no more, or the route has ended.

        Raises SourceError, PositionLostError when the oplog no longer reaches back to the
        snapshot's beginning; MncError when a document can't be encoded.

        Cancellation: the route keeps what was delivered.
        """
        estimated = await self._documents.estimate(self._namespace)
        self._observer.copying(self.snapshot, estimated=estimated)
        since = self.snapshot.since.cluster_time
        limit = FIRST_BATCH_SIZE
        while route.is_open:
            await self._check_history()
            began_at = trio.current_time()
            chunk = await self._documents.read(
                self._namespace,
                after=self.snapshot.after,
                since=since,
                limit=self._bounded(limit),
                pipeline=self._pipeline,
            )
            if not chunk.documents:
                self.is_complete = True
                return
            await route.deliver(await self._encode_all(chunk, route.collection))
            count = len(chunk.documents)
            self.snapshot = self._reached(chunk.documents, count)
            self._observer.copied(self.snapshot)
            limit = next_batch_size(limit, events=count, size_bytes=chunk.size_bytes)
            if self._documents_per_s:
                await trio.sleep_until(began_at + count / self._documents_per_s)

    def _bounded(self, limit: int) -> int:
        return min(limit, self._documents_per_s) if self._documents_per_s else limit

    async def _check_history(self) -> None:
        if trio.current_time() >= self._next_check_at:
            await self._source.check_history(self.snapshot.since.cluster_time)
            self._next_check_at = trio.current_time() + _CHECK_S

    async def _encode_all(self, chunk: Chunk, collection: str) -> Sequence[EncodedEvent]:
        if chunk.size_bytes <= _INLINE_ENCODE_BYTES:
            return self._encoded(chunk.documents, collection)
        return await trio.to_thread.run_sync(
            self._encoded, chunk.documents, collection, limiter=self._encode_limiter
        )

    def _encoded(self, documents: Sequence[Document], collection: str) -> Sequence[EncodedEvent]:
        """Encode documents, each with how far the snapshot is with it."""
        read_at = datetime.now(UTC).replace(tzinfo=None)
        events = []
        for count, document in enumerate(documents, 1):
            if document.change is None:
                continue
            snapshot = self._reached(documents, count)
            change = placed(document.change, snapshot, read_at=read_at)
            event = self._encode.encode(change, collection)
            headers = (*event.headers, header_of(snapshot))
            events.append(event._replace(headers=headers, snapshot=snapshot))
        return events

    def _reached(self, documents: Sequence[Document], count: int) -> Snapshot:
        """Return how far the snapshot is with the first `count` of the next documents."""
        return replace(
            self.snapshot,
            documents=self.snapshot.documents + count,
            after=documents[count - 1].key,
        )
