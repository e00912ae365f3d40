"""Change streams of one database.

Theory of operation. The filter runs on the server: one stream with a filter costs it far less than
a stream for each collection. What the user has MongoDB do with events comes behind it. One event
can fail the whole reply that it would be in, with the good ones before it: for its size, for an
image that is required and isn't there, or for what the user's stages make of it. Then the stream is
opened anew after the last reply, and read one by one up to that event. One that is too large is
read in another way (`large`); any other is reported, after all that came before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

import trio
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure, PyMongoError

from mnc.capture.options import CaptureOptions
from mnc.capture.ports import Open, Reply, StartAfter, StartAt
from mnc.config import pipeline_stages
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.cursor import ChangeCursor, CursorReply, Document
from mnc.drivers.mongo.failures import IMAGE_MISSING, TOO_LARGE, pipeline_error, source_error
from mnc.drivers.mongo.large import LargeEventReader, Stage
from mnc.errors import ForeignPositionError, SourceError
from mnc.model import ClusterTime, Namespace, ResumeToken

__all__ = ["MongoChangeSource", "MongoChangeStream"]

_T = TypeVar("_T")

_FUTURE_SLACK_S = 10
"""How far a position may be ahead of the server's clock: a token of "now" is so by one tick."""


class MongoChangeSource:
    """The change streams of one database, which its options name."""

    def __init__(self, connection: MongoConnection, *, options: CaptureOptions) -> None:
        self._connection = connection
        self._options = options
        self._checks = trio.CapacityLimiter(2)

    async def current_token(self) -> ResumeToken:
        """Return a token after everything committed so far; see `ChangeSource.current_token`."""
        stream = MongoChangeStream(self._connection, _stages(()), options=self._options)
        try:
            await stream.open({})
            return stream.opened_at
        finally:
            await stream.aclose()

    async def check_history(self, since: ClusterTime) -> None:
        """Ask whether the oplog reaches back to a time; see `ChangeSource.check_history`.

        Only who reads is told. The server compares the time with its oldest entry first; then it
        would look for a change of this database, which may be hours away, so it may not look long.
        """
        start = {"startAtOperationTime": Timestamp(since.seconds, since.increment)}
        cursor = ChangeCursor(self._connection, database=self._options.database)

        def probe() -> None:
            try:
                cursor.probe([{"$changeStream": start}])
            finally:
                cursor.close()

        try:
            await trio.to_thread.run_sync(probe, limiter=self._checks)
        except PyMongoError as error:
            raise source_error(error) from error

    async def open(self, collections: Collection[str], *, start: Open) -> MongoChangeStream:
        """Open a change stream over `collections`; see `ChangeSource.open`."""
        home = self._connection.database.name
        names = [Namespace.of(key, home=home).collection for key in collections]
        stream = MongoChangeStream(self._connection, _stages(names), options=self._options)
        try:
            match start:
                case StartAt(cluster_time=time):
                    at = Timestamp(time.seconds, time.increment)
                    await stream.open({"startAtOperationTime": at}, not_after=time)
                case StartAfter(token=token):
                    await stream.open({"startAfter": _document(token)})
        except BaseException:
            await stream.aclose()
            raise
        return stream


class MongoChangeStream:
    """One open change stream, whose cursor may be opened more than once.

    Invariants: `_after` stands behind all events that were returned, and before the next one.
    """

    def __init__(
        self, connection: MongoConnection, stages: Sequence[Stage], *, options: CaptureOptions
    ) -> None:
        """Prepare one whose events go through `stages` on the server."""
        cursor = partial(ChangeCursor, connection, database=options.database)
        self._cursor = cursor()
        self._large = LargeEventReader(cursor)
        self._stage = _stage(options)
        self._stages = stages
        self._chosen = pipeline_stages(options.pipeline)
        """The user's own stages."""
        self._after: Document = {}
        self._to_read_alone = 0
        """How many events, at most, are read one by one before one that fails."""
        self._limiter = trio.CapacityLimiter(1)
        self.opened_at = ResumeToken("")
        """The post-batch resume token of the opening."""

    async def open(
        self, start: Mapping[str, object], *, not_after: ClusterTime | None = None
    ) -> None:
        """Open the cursor. Raises SourceError; ForeignPositionError when `not_after` is to come."""
        now = await self._in_thread(lambda: self._open(start), opening=True)
        self.opened_at = _token(self._after)
        if now and not_after and not_after.seconds > now.time + _FUTURE_SLACK_S:
            # MongoDB accepts it in silence and would deliver nothing until that time has come.
            raise ForeignPositionError(
                "the position to resume from lies in the future of this MongoDB cluster",
                remedy="check that MONGO_URI names the cluster that the stream was filled from",
            )

    async def next_reply(self, *, batch_size: int) -> Reply:
        """Return the next reply; see `ChangeStream.next_reply`."""

        def read() -> Reply:
            found = self._read(batch_size)
            self._after = found.token
            self._to_read_alone = max(0, self._to_read_alone - len(found.events))
            return Reply(
                events=deque(found.events),
                token=_token(found.token),
                size_bytes=found.size_bytes,
                invalidated=found.is_last,
            )

        return await self._in_thread(read)

    async def aclose(self) -> None:
        """Close the cursor if the server can be reached; never raises."""
        # Left open, the cursor would cost the server a share of every oplog entry for ten minutes.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._cursor.close, limiter=self._limiter)

    # --- in the thread ---------------------------------------------------------------------------

    def _open(self, start: Mapping[str, object]) -> Timestamp | None:
        self._after, now = self._cursor.open(self._pipeline(start))
        return now

    def _pipeline(self, start: Mapping[str, object]) -> list[Mapping[str, object]]:
        chosen = self._chosen
        match start:
            case {"startAfter": {"_data": token}}:
                chosen = [_letting_pass(token, stage) for stage in chosen]
        return [{"$changeStream": {**self._stage, **start}}, *self._stages, *chosen]

    def _read(self, batch_size: int) -> CursorReply:
        wanted = 1 if self._to_read_alone else batch_size
        try:
            return self._cursor.more(wanted)
        except OperationFailure as error:
            is_events = error.code in TOO_LARGE | IMAGE_MISSING
            if not is_events and self._failed_pipeline(error, opening=False) is None:
                raise
            resume = {"startAfter": self._after}
            if wanted > 1:
                self._to_read_alone = wanted
                self._open(resume)
                return self._read(batch_size)
            if error.code not in TOO_LARGE:
                raise
            found = self._large.read(self._pipeline(resume))
            if found is None:
                raise
            self._open({"startAfter": found.token})
            self._to_read_alone = 0
            return found

    def _failed_pipeline(self, error: PyMongoError, *, opening: bool) -> SourceError | None:
        return pipeline_error(error, opening=opening) if self._chosen else None

    async def _in_thread(self, function: Callable[[], _T], *, opening: bool = False) -> _T:
        try:
            return await trio.to_thread.run_sync(function, limiter=self._limiter)
        except PyMongoError as error:
            raise self._failed_pipeline(error, opening=opening) or source_error(error) from error


def _stage(options: CaptureOptions) -> dict[str, object]:
    """Return what `$changeStream` is given for `options`."""
    full_document = options.full_document
    return {
        "fullDocument": "default" if full_document == "off" else full_document,
        "fullDocumentBeforeChange": options.before_change,
        "showExpandedEvents": options.expanded_events,
    }


def _stages(names: Collection[str]) -> Sequence[Stage]:
    """Return the server-side filter for the collections that have `names` in their database.

    A rename onto one of them names it in `to` alone. dropDatabase and invalidate belong to no
    collection, and end the stream, which must be noticed.
    """
    among = {"$in": list(names)}
    wanted = [
        {"ns.coll": among},
        {"to.coll": among},
        {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
    ]
    return [{"$match": {"$or": wanted}}]


def _letting_pass(token: str, stage: Stage) -> Stage:
    """Return a stage of the user's that lets the event of `token` pass.

    MongoDB goes on after a token only where it meets the token's event, which it doesn't return
    again. A condition on a document that is looked up may not hold any more.
    """
    match stage:
        case {"$match": condition}:
            return {"$match": {"$or": [{"_id._data": token}, condition]}}
        case _:
            return stage


def _token(document: Document) -> ResumeToken:
    return ResumeToken(document["_data"], document.get("_typeBits"))


def _document(token: ResumeToken) -> dict[str, object]:
    document: dict[str, object] = {"_data": token.data}
    if token.type_bits is not None:
        document["_typeBits"] = token.type_bits
    return document
