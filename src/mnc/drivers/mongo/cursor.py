"""A change stream's cursor on the server, read in whole replies. Blocking: for a thread.

Theory of operation. The cursor's commands are sent as they are, `aggregate` once, then `getMore`,
because that gives what pymongo's own iterator hides: each reply's size, its post-batch resume
token, and a batch size a call. Replies come as raw BSON and are decoded in the thread that read
them, as a whole unless they are large (`pieces`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import bson
import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.errors import ExecutionTimeout, PyMongoError
from pymongo.read_preferences import ReadPreference

from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.pieces import PIECE_BYTES, decode_in_pieces
from mnc.interpreter import hidden_from_collector

__all__ = ["RAW", "ChangeCursor", "CursorReply", "Document", "decode"]

Document = dict[str, Any]

_AWAIT_MS = 500
"""How long the server holds a getMore without events; nothing can interrupt it on this side."""

_CLOSE_S = 1.0
"""How long closing a cursor may take: a server that is gone has no cursors to close."""

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

_STRICT: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
"""Dates that Python's datetime can't hold stay as they are."""

_LENIENT = _STRICT.with_options(unicode_decode_error_handler="replace")
"""For strings that aren't UTF-8, which MongoDB stores without complaint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorReply:
    """What the server answers to a getMore."""

    events: Sequence[Document]
    token: Document
    """The post-batch resume token, as MongoDB takes it back."""
    size_bytes: int
    is_last: bool
    """The server has closed the cursor."""


class ChangeCursor:
    """One cursor at a time, in one session. Its methods raise PyMongoError but for `close`."""

    def __init__(self, connection: MongoConnection, *, database: str | None) -> None:
        """Prepare one over `database`; None is the one that MONGO_URI names."""
        self._connection = connection
        self._database = connection.database if database is None else connection.client[database]
        self._session: ClientSession | None = None
        self._id = 0
        self._collection = ""

    def open(self, pipeline: Sequence[Mapping[str, object]]) -> tuple[Document, Timestamp | None]:
        """Open the cursor; return its first resume token, and the server's operation time."""
        reply = self._command(
            {
                "aggregate": 1,
                "pipeline": list(pipeline),
                "cursor": {"batchSize": 0},
                "readConcern": {"level": "majority"},
            }
        )
        document = bson.decode(reply.raw, _STRICT)
        cursor = document["cursor"]
        self._note(cursor)
        return cursor["postBatchResumeToken"], document.get("operationTime")

    def probe(self, pipeline: Sequence[Mapping[str, object]]) -> None:
        """Open the cursor and have the server read; no error if it finds nothing in time."""
        with suppress(ExecutionTimeout):
            reply = self._command(
                {
                    "aggregate": 1,
                    "pipeline": list(pipeline),
                    "cursor": {"batchSize": 1},
                    "readConcern": {"level": "majority"},
                    "maxTimeMS": _AWAIT_MS,
                }
            )
            self._note(bson.decode(reply.raw, _STRICT)["cursor"])

    def more(self, batch_size: int) -> CursorReply:
        """Wait up to half a second for at most `batch_size` events."""
        reply = self._command(
            {
                "getMore": bson.Int64(self._id),
                "collection": self._collection,
                "batchSize": batch_size,
                "maxTimeMS": _AWAIT_MS,
            }
        )
        cursor = decode(bytes(reply.raw))["cursor"]
        self._id = cursor["id"]
        return CursorReply(
            events=cursor["nextBatch"],
            token=cursor["postBatchResumeToken"],
            size_bytes=len(reply.raw),
            is_last=self._id == 0,
        )

    def close(self) -> None:
        """Close the cursor if the server can be reached; never raises."""
        if self._session is None:
            return
        try:
            if self._id:
                with pymongo.timeout(_CLOSE_S):
                    self._command(
                        {"killCursors": self._collection, "cursors": [bson.Int64(self._id)]}
                    )
        except PyMongoError:
            pass  # the server closes a cursor that nobody reads, after ten minutes
        finally:
            self._session.end_session()

    def _note(self, cursor: Document) -> None:
        self._id = cursor["id"]
        self._collection = cursor["ns"].partition(".")[2]

    def _command(self, command: Document) -> RawBSONDocument:
        # An explicit session ties aggregate and getMore together; without one, pymongo ends the
        # implicit session after the first command and the server refuses the second.
        if self._session is None:
            self._session = self._connection.client.start_session()
        return self._database.command(
            command,
            codec_options=RAW,
            session=self._session,
            read_preference=ReadPreference.PRIMARY,
        )


def decode(raw: bytes) -> Document:
    """Decode a document of any size, without holding up other threads for long.

    Strings that aren't UTF-8 are read with replacements. Raises BSONError when it is no document.
    """
    with hidden_from_collector() if len(raw) > PIECE_BYTES else nullcontext():
        try:
            return decode_in_pieces(raw, _STRICT)
        except BSONError:
            return decode_in_pieces(raw, _LENIENT)
