"""Change streams of one database, read in whole replies.

Theory of operation. The cursor's commands are sent as they are, `aggregate` once, then `getMore`,
because that gives what pymongo's own iterator hides: each reply's size, its post-batch resume
token, and a batch size a call. Replies come as raw BSON and are decoded in the thread that read
them, as a whole unless they are large (`pieces`). The filter runs on the server: one stream with a
filter costs it far less than a stream for each collection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import bson
import pymongo
import trio
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError
from pymongo.read_preferences import ReadPreference

from mnc.capture.options import CaptureOptions
from mnc.capture.ports import ChangeDocument, Open, Reply, StartAfter, StartAt
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.failures import source_error
from mnc.drivers.mongo.pieces import decode_in_pieces
from mnc.errors import PositionLostError
from mnc.model import ClusterTime, ResumeToken

__all__ = ["MongoChangeSource", "MongoChangeStream"]

_T = TypeVar("_T")

_AWAIT_MS = 500
"""How long the server holds a getMore without events; nothing can interrupt it on this side."""

_CLOSE_S = 1.0
"""How long closing a cursor may take: a server that is gone has no cursors to close."""

_FUTURE_SLACK_S = 10
"""How far a position may be ahead of the server's clock: a token of "now" is so by one tick."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

_STRICT: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
"""Dates that Python's datetime can't hold stay as they are."""

_LENIENT = _STRICT.with_options(unicode_decode_error_handler="replace")
"""For strings that aren't UTF-8, which MongoDB stores without complaint."""


class MongoChangeSource:
    """The change streams of the database that MONGO_URI names."""

    def __init__(self, connection: MongoConnection, *, options: CaptureOptions) -> None:
        self._connection = connection
        self._stage = _stage(options)

    async def current_token(self) -> ResumeToken:
        """Return a token after everything committed so far; see `ChangeSource.current_token`."""
        stream = await self._open({}, collections=())
        try:
            return stream.opened_at
        finally:
            await stream.aclose()

    async def open(self, collections: Collection[str], *, start: Open) -> MongoChangeStream:
        """Open a change stream over `collections`; see `ChangeSource.open`."""
        match start:
            case StartAt(cluster_time=time):
                at = Timestamp(time.seconds, time.increment)
                return await self._open(
                    {"startAtOperationTime": at}, collections=collections, not_after=time
                )
            case StartAfter(token=token):
                return await self._open({"startAfter": _document(token)}, collections=collections)

    async def _open(
        self,
        stage: dict[str, object],
        *,
        collections: Collection[str],
        not_after: ClusterTime | None = None,
    ) -> MongoChangeStream:
        pipeline: list[dict[str, object]] = [
            {"$changeStream": {**self._stage, **stage}},
            {"$match": _filter(collections)},
        ]
        stream = MongoChangeStream(self._connection)
        try:
            await stream.open(pipeline, not_after=not_after)
        except BaseException:
            await stream.aclose()
            raise
        return stream


class MongoChangeStream:
    """One open cursor on one server."""

    def __init__(self, connection: MongoConnection) -> None:
        self._connection = connection
        self._session: ClientSession | None = None
        self._cursor_id = 0
        self._collection = ""
        self._limiter = trio.CapacityLimiter(1)
        self.opened_at = ResumeToken("")
        """The post-batch resume token of the opening."""

    async def open(
        self, pipeline: Sequence[dict[str, object]], *, not_after: ClusterTime | None
    ) -> None:
        """Open the cursor. Raises SourceError; PositionLostError when `not_after` is to come."""
        command: dict[str, object] = {
            "aggregate": 1,
            "pipeline": list(pipeline),
            "cursor": {"batchSize": 0},
            "readConcern": {"level": "majority"},
        }
        reply = await self._in_thread(lambda: self._command(command))
        cursor = reply["cursor"]
        self._cursor_id = cursor["id"]
        self._collection = cursor["ns"].partition(".")[2]
        self.opened_at = _token(cursor["postBatchResumeToken"])
        now: Timestamp | None = reply.get("operationTime")
        if now and not_after and not_after.seconds > now.time + _FUTURE_SLACK_S:
            # MongoDB accepts it in silence and would deliver nothing until that time has come.
            raise PositionLostError(
                "the position to resume from lies in the future of this MongoDB cluster",
                remedy="check that MONGO_URI names the cluster that the stream was filled from",
            )

    async def next_reply(self, *, batch_size: int) -> Reply:
        """Return the next reply; see `ChangeStream.next_reply`."""
        command: dict[str, object] = {
            "getMore": bson.Int64(self._cursor_id),
            "collection": self._collection,
            "batchSize": batch_size,
            "maxTimeMS": _AWAIT_MS,
        }

        def read() -> Reply:
            reply = self._command_raw(command)
            events, cursor = _decode(reply)
            self._cursor_id = cursor["id"]
            return Reply(
                events=events,
                token=_token(cursor["postBatchResumeToken"]),
                size_bytes=len(reply.raw),
                invalidated=cursor["id"] == 0,
            )

        return await self._in_thread(read)

    async def aclose(self) -> None:
        """Close the cursor if the server can be reached; never raises."""

        def close() -> None:
            if self._session is None:
                return
            try:
                if self._cursor_id:
                    with pymongo.timeout(_CLOSE_S):
                        self._command(
                            {
                                "killCursors": self._collection,
                                "cursors": [bson.Int64(self._cursor_id)],
                            }
                        )
            except PyMongoError:
                pass  # the server closes a cursor that nobody reads, after ten minutes
            finally:
                self._session.end_session()

        # Left open, the cursor would cost the server a share of every oplog entry for ten minutes.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(close, limiter=self._limiter)

    # --- in the thread ---------------------------------------------------------------------------

    def _command(self, command: dict[str, object]) -> dict[str, Any]:
        return bson.decode(self._command_raw(command).raw, _STRICT)

    def _command_raw(self, command: dict[str, object]) -> RawBSONDocument:
        # An explicit session ties aggregate and getMore together; without one, pymongo ends the
        # implicit session after the first command and the server refuses the second.
        if self._session is None:
            self._session = self._connection.client.start_session()
        return self._connection.database.command(
            command,
            codec_options=_RAW,
            session=self._session,
            read_preference=ReadPreference.PRIMARY,
        )

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(function, limiter=self._limiter)
        except PyMongoError as error:
            raise source_error(error) from error


def _stage(options: CaptureOptions) -> dict[str, object]:
    """Return what `$changeStream` is given for `options`."""
    full_document = options.full_document
    return {
        "fullDocument": "default" if full_document == "off" else full_document,
        "fullDocumentBeforeChange": options.before_change,
        "showExpandedEvents": options.expanded_events,
    }


def _filter(collections: Collection[str]) -> dict[str, object]:
    """Return the server-side filter for `collections`.

    A rename onto one of them names it in `to` alone. dropDatabase and invalidate belong to no
    collection, and end the stream, which must be noticed.
    """
    names = {"$in": list(collections)}
    return {
        "$or": [
            {"ns.coll": names},
            {"to.coll": names},
            {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
        ]
    }


def _decode(reply: RawBSONDocument) -> tuple[Sequence[ChangeDocument], dict[str, Any]]:
    """Decode a reply; return its events and its cursor document."""
    raw = bytes(reply.raw)
    try:
        cursor = decode_in_pieces(raw, _STRICT)["cursor"]
    except BSONError:
        cursor = decode_in_pieces(raw, _LENIENT)["cursor"]
    return cursor["nextBatch"], cursor


def _token(document: dict[str, Any]) -> ResumeToken:
    return ResumeToken(document["_data"], document.get("_typeBits"))


def _document(token: ResumeToken) -> dict[str, object]:
    document: dict[str, object] = {"_data": token.data}
    if token.type_bits is not None:
        document["_typeBits"] = token.type_bits
    return document
