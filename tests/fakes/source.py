"""The port of the capture stage: the oplog of one database in memory, and change streams over it.

Cluster time moves with each write, as in MongoDB; what a transaction wrote has one cluster time. An
open stream sees its collections' events and what concerns the whole database.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import trio
from tests.fakes.faults import Faults, Latency, Script, in_thread, one_millisecond
from tests.fakes.tokens import event_token, high_water_mark, invalidate_token

from mnc.capture.ports import ChangeDocument, Open, Reply, StartAfter, StartAt
from mnc.errors import ForeignPositionError, PositionLostError, SourceError, SourceUnavailableError
from mnc.model import ClusterTime, ResumeToken

__all__ = ["DATABASE", "FakeChangeStream", "FakeSource"]

DATABASE = "test"

_AWAIT_S = 0.5
_EVENT_BYTES = 300
_FUTURE_SLACK_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One entry of the oplog, as a change stream shows it."""

    token: ResumeToken
    collection: str | None
    """None for what concerns the whole database."""
    target: str | None = None
    """What a rename has renamed it to."""
    change: ChangeDocument
    size_bytes: int = _EVENT_BYTES

    def passes(self, wants: Callable[[str], bool]) -> bool:
        """Whether a stream over the collections that `wants` says yes to shows it."""
        concerned = (self.collection, self.target)
        return self.collection is None or any(name and wants(name) for name in concerned)

    @property
    def is_invalidate(self) -> bool:
        return self.change["operationType"] == "invalidate"


class FakeSource:
    """One database: a test writes to it, and the code under test reads its changes."""

    def __init__(self, *, latency: Latency = one_millisecond) -> None:
        self.open_faults: Faults[SourceError] = Script()
        self.reply_faults: Faults[SourceError] = Script()
        self.streams: list[FakeChangeStream] = []
        """Every stream that was opened, in order."""
        self.now = ClusterTime(1_700_000_000, 1)
        self.oldest = self.now
        """Where the oplog begins."""
        self.documents = defaultdict[str, dict[int, ChangeDocument]](dict)
        """What each collection holds now, by the documents' ids, if those are numbers."""
        self._latency = latency
        self._oplog: list[_Entry] = []
        self._written = trio.Event()

    # --- the port --------------------------------------------------------------------------------

    async def current_token(self) -> ResumeToken:
        """Return a token after everything so far: the mark of the next tick, as MongoDB's is."""
        fault = self.open_faults()
        await in_thread(self._latency)
        if fault is not None:
            raise fault
        return high_water_mark(self._next_tick())

    async def open(self, collections: Collection[str], *, start: Open) -> FakeChangeStream:
        """Open a change stream over `collections`."""
        fault = self.open_faults()
        await in_thread(self._latency)
        if fault is not None:
            raise fault
        match start:
            case StartAt(cluster_time=time):
                if time.seconds > self.now.seconds + _FUTURE_SLACK_S:
                    raise ForeignPositionError("the position lies in the future")
                next_index = bisect_left(self._oplog, time, key=lambda it: it.token.cluster_time)
            case StartAfter(token=token):
                time = token.cluster_time
                next_index = bisect_right(self._oplog, token, key=lambda it: it.token)
        self._check_history(time)
        stream = FakeChangeStream(self, collections, start=start, next_index=next_index)
        self.streams.append(stream)
        return stream

    async def check_history(self, since: ClusterTime) -> None:
        """Raise PositionLostError when the oplog begins after `since`."""
        fault = self.open_faults()
        await in_thread(self._latency)
        if fault is not None:
            raise fault
        self._check_history(since)

    # --- what a test does and sees ---------------------------------------------------------------

    def write(
        self,
        collection: str,
        *,
        operation: str = "insert",
        document_id: object = 1,
        padding_bytes: int = 0,
    ) -> ResumeToken:
        """Commit one write; return its event's token."""
        return self._commit([(collection, operation, document_id, padding_bytes)])[0]

    def transact(self, *collections: str) -> Sequence[ResumeToken]:
        """Commit an insert into each of `collections`, in one transaction."""
        return self._commit(
            [(name, "insert", number, 0) for number, name in enumerate(collections)]
        )

    def rename(self, collection: str, target: str) -> ResumeToken:
        """Rename a collection; return its event's token."""
        self.now = self._next_tick()
        token = event_token(self.now)
        change = {
            "operationType": "rename",
            "ns": {"db": DATABASE, "coll": collection},
            "to": {"db": DATABASE, "coll": target},
        }
        self._append(token, collection, change, target=target)
        self._wake()
        return token

    def tick(self, *, seconds: int = 0) -> None:
        """Let others write to other databases, or let time pass."""
        self.now = ClusterTime(self.now.seconds + seconds, 1) if seconds else self._next_tick()

    def drop_database(self) -> ResumeToken:
        """Drop the database; return the token of the `invalidate` that ends every open stream."""
        for name in sorted({entry.collection for entry in self._oplog if entry.collection}):
            self._commit([(name, "drop", None, 0)])
        self.documents.clear()
        self.now = self._next_tick()
        token = event_token(self.now)
        self._append(token, None, {"operationType": "dropDatabase", "ns": {"db": DATABASE}})
        token = invalidate_token(self.now)
        self._append(token, None, {"operationType": "invalidate"})
        self._wake()
        return token

    def forget(self) -> None:
        """Let the oplog roll over: it begins after everything so far."""
        self.now = self.oldest = self._next_tick()

    def tokens(self, *collections: str) -> Sequence[ResumeToken]:
        """Return the tokens of all writes to `collections`, in order."""
        return [
            entry.token
            for entry in self._oplog
            if entry.collection in collections
            and entry.change["operationType"] not in {"drop", "rename"}
        ]

    def collections(self) -> Collection[str]:
        """Return the collections that exist."""
        found: dict[str, bool] = {}
        for entry in self._oplog:
            if entry.collection is not None:
                found[entry.collection] = entry.change["operationType"] != "drop"
        return [name for name, exists in found.items() if exists]

    # --- the server ------------------------------------------------------------------------------

    def _check_history(self, since: ClusterTime) -> None:
        if since < self.oldest:
            raise PositionLostError("the position is no longer in the oplog", code=286)

    def _next_tick(self) -> ClusterTime:
        return ClusterTime(self.now.seconds, self.now.increment + 1)

    def _commit(self, writes: Sequence[tuple[str, str, object, int]]) -> Sequence[ResumeToken]:
        self.now = self._next_tick()
        tokens = []
        for index, (collection, operation, document_id, padding_bytes) in enumerate(writes):
            token = event_token(self.now, index=index, key=f"{collection}/{document_id}")
            change = {
                "operationType": operation,
                "ns": {"db": DATABASE, "coll": collection},
                "documentKey": {"_id": document_id},
                "fullDocument": {"_id": document_id, "padding": "." * padding_bytes},
            }
            if isinstance(document_id, int):
                self.documents[collection].pop(document_id, None)
                if operation != "delete":
                    self.documents[collection][document_id] = {
                        "_id": document_id,
                        "written": token.data,
                    }
            self._append(token, collection, change, size_bytes=_EVENT_BYTES + padding_bytes)
            tokens.append(token)
        self._wake()
        return tokens

    def _append(
        self,
        token: ResumeToken,
        collection: str | None,
        change: Mapping[str, object],
        *,
        size_bytes: int = _EVENT_BYTES,
        target: str | None = None,
    ) -> None:
        wall_time = datetime.fromtimestamp(self.now.seconds, UTC).replace(tzinfo=None)  # as bson
        change = {"_id": {"_data": token.data}, "wallTime": wall_time, **change}
        self._oplog.append(
            _Entry(
                token=token,
                collection=collection,
                target=target,
                change=change,
                size_bytes=size_bytes,
            )
        )

    def _wake(self) -> None:
        self._written.set()
        self._written = trio.Event()


class FakeChangeStream:
    """One open cursor over a fake source."""

    def __init__(
        self, source: FakeSource, collections: Collection[str], *, start: Open, next_index: int
    ) -> None:
        self.start = start
        self.collections = tuple(collections)
        self.passes: Callable[[str], bool] = self.collections.__contains__
        """Says whether a collection's events pass the filter."""
        self.is_closed = False
        self.batch_sizes: list[int] = []
        """What each reply was asked to hold at most."""
        self._source = source
        self._next_index = next_index
        self._is_invalidated = False
        self._reached = ResumeToken("")

    async def next_reply(self, *, batch_size: int) -> Reply:
        """Return what there is, after half a second nothing."""
        assert not self.is_closed
        assert not self._is_invalidated
        self.batch_sizes.append(batch_size)
        source = self._source
        fault = source.reply_faults()
        await in_thread(source._latency)
        if fault is not None:
            raise fault
        with trio.move_on_after(_AWAIT_S, shield=True):
            while not self._has_more():
                await source._written.wait()
        return self._read(batch_size)

    async def aclose(self) -> None:
        """Close the cursor."""
        with trio.CancelScope(shield=True):
            await in_thread(self._source._latency)
        self.is_closed = True

    def _has_more(self) -> bool:
        """Go on to the next entry that passes the filter, if there is one."""
        oplog = self._source._oplog
        while self._next_index < len(oplog):
            if oplog[self._next_index].passes(self.passes):
                return True
            self._next_index += 1
        return False

    def _read(self, batch_size: int) -> Reply:
        source = self._source
        entries: list[_Entry] = []
        while len(entries) < batch_size and not self._is_invalidated and self._has_more():
            entry = source._oplog[self._next_index]
            if entry.token.cluster_time < source.oldest:
                raise SourceUnavailableError("the cursor fell behind the oplog", code=136)
            entries.append(entry)
            self._next_index += 1
            self._is_invalidated = entry.is_invalidate
        if entries:
            self._reached = entries[-1].token
        if not self._is_invalidated and not self._has_more():
            self._reached = max(self._reached, high_water_mark(source.now))
        return Reply(
            events=deque(entry.change for entry in entries),
            token=self._reached,
            size_bytes=sum(entry.size_bytes for entry in entries),
            invalidated=self._is_invalidated,
        )
