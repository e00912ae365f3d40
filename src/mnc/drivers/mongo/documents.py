"""The documents of collections, read in chunks in the order of their `_id`.

Theory of operation. Each chunk is a query of its own, so that no cursor has to stay open, and a
crash costs nothing: it says after which `_id` it begins. A plain `$gt` would leave out every other
type than that of its operand, so the comparison is an expression, which knows the order of all
types, and the collection's collation; MongoDB answers it from the index of `_id`. An `_id` is kept
byte for byte: decoded and encoded again, some would sort elsewhere.

With a pipeline a chunk is two queries: which documents there are, by their `_id`s alone, and what
the pipeline makes of those. So it is known how far a chunk reaches of which nothing is left. What
is written in between is committed after `since`, and comes as a change.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import bson
import pymongo
import trio
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.errors import PyMongoError
from pymongo.read_preferences import ReadPreference

from mnc.capture.ports import Chunk, Document
from mnc.config import pipeline_stages
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.cursor import RAW, decode
from mnc.drivers.mongo.failures import pipeline_error, source_error
from mnc.drivers.mongo.pieces import first_element
from mnc.encode.snapshot import read_change
from mnc.errors import SourceRefusedError
from mnc.model import ClusterTime, Namespace

__all__ = ["MongoDocuments"]

_T = TypeVar("_T")

_Command = dict[str, object]

_KEY_LIMIT_BYTES: Final = 64 * 1024
"""Of an `_id` that can be gone on after: positions hold it, and the broker's messages are small."""

_READ_S = 60.0
"""How long a chunk may take: a megabyte or so, but from a disk that others use too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which documents are wanted, and how fresh."""

    namespace: Namespace
    after: str
    since: ClusterTime
    limit: int


class MongoDocuments:
    """The collections of the deployment that MONGO_URI names."""

    def __init__(self, connection: MongoConnection) -> None:
        self._connection = connection
        self._limiter = trio.CapacityLimiter(4)

    async def read(
        self, namespace: Namespace, *, after: str, since: ClusterTime, limit: int, pipeline: str
    ) -> Chunk:
        """Return the documents that follow `after`; see `DocumentSource.read`."""
        stages = pipeline_stages(pipeline)
        wanted = _Wanted(namespace=namespace, after=after, since=since, limit=limit)

        def read() -> Chunk:
            return self._through(stages, wanted) if stages else self._whole(wanted)

        try:
            return await self._in_thread(read)
        except PyMongoError as error:
            failed = pipeline_error(error, opening=False) if stages else None
            raise failed or source_error(error) from error

    async def estimate(self, namespace: Namespace) -> int:
        """Return about how many documents there are; see `DocumentSource.estimate`."""
        collection = self._connection.client[namespace.database][namespace.collection]
        try:
            return await self._in_thread(collection.estimated_document_count)
        except PyMongoError as error:
            raise source_error(error) from error

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        def bounded() -> _T:
            with pymongo.timeout(_READ_S):
                return function()

        return await trio.to_thread.run_sync(bounded, limiter=self._limiter, abandon_on_cancel=True)

    # --- in the thread ---------------------------------------------------------------------------

    def _whole(self, wanted: _Wanted) -> Chunk:
        """Return documents as they are."""
        reply = self._ask(wanted, _find(wanted))
        documents = [bytes(found.raw) for found in reply["cursor"]["firstBatch"]]
        return Chunk(
            documents=[
                Document(change=read_change(wanted.namespace, decode(raw)), key=_key(raw))
                for raw in documents
            ],
            size_bytes=len(reply.raw),
        )

    def _through(self, stages: Sequence[Mapping[str, object]], wanted: _Wanted) -> Chunk:
        """Return what stages make of documents."""
        listed = self._ask(wanted, {**_find(wanted), "projection": {"_id": 1}})
        keys = [_key(bytes(found.raw)) for found in listed["cursor"]["firstBatch"]]
        if not keys:
            return Chunk(documents=(), size_bytes=len(listed.raw))
        reply = self._ask(wanted, _aggregate(stages, wanted, last=keys[-1]))
        cursor = reply["cursor"]
        changes = {
            _key(bytes(found["documentKey"].raw)): decode(bytes(found.raw))
            for found in cursor["firstBatch"]
        }
        if cursor["id"]:
            # They are over 16 MiB together. All that passes up to the last one is here, and what
            # is missing comes with the next chunk.
            collection = wanted.namespace.collection
            self._ask(wanted, {"killCursors": collection, "cursors": [bson.Int64(cursor["id"])]})
            keys = list(changes)
        return Chunk(
            documents=[Document(change=changes.get(key), key=key) for key in keys],
            size_bytes=len(listed.raw) + len(reply.raw),
        )

    def _ask(self, wanted: _Wanted, command: _Command) -> RawBSONDocument:
        return self._connection.client[wanted.namespace.database].command(
            command, codec_options=RAW, read_preference=ReadPreference.PRIMARY
        )


def _find(wanted: _Wanted) -> _Command:
    """Return the command that finds documents."""
    return {
        "find": wanted.namespace.collection,
        "filter": {"$expr": {"$gt": ["$_id", _literal(wanted.after)]}} if wanted.after else {},
        "sort": {"_id": 1},
        "limit": wanted.limit,
        "batchSize": wanted.limit,
        "singleBatch": True,
        "readConcern": _read_concern(wanted),
    }


def _aggregate(stages: Sequence[Mapping[str, object]], wanted: _Wanted, *, last: str) -> _Command:
    """Return the command that has documents up to `last` go through stages, as if they changed."""
    bounds = [{"$expr": {"$lte": ["$_id", _literal(last)]}}]
    if wanted.after:
        bounds.append({"$expr": {"$gt": ["$_id", _literal(wanted.after)]}})
    change = {
        "operationType": "read",
        "ns": {"$literal": {"db": wanted.namespace.database, "coll": wanted.namespace.collection}},
        "documentKey": {"_id": "$_id"},
        "fullDocument": "$$ROOT",
    }
    return {
        "aggregate": wanted.namespace.collection,
        "pipeline": [
            {"$match": {"$and": bounds}},
            {"$sort": {"_id": 1}},
            {"$replaceWith": change},
            *stages,
        ],
        # One more, so that the cursor is at its end when all are returned.
        "cursor": {"batchSize": wanted.limit + 1},
        "readConcern": _read_concern(wanted),
    }


def _read_concern(wanted: _Wanted) -> Mapping[str, object]:
    # A new primary may have less of what a majority has than its predecessor had.
    since = Timestamp(wanted.since.seconds, wanted.since.increment)
    return {"level": "majority", "afterClusterTime": since}


def _literal(key: str) -> RawBSONDocument:
    return RawBSONDocument(first_element(base64.b64decode(key), name=b"$literal"))


def _key(raw: bytes) -> str:
    """Return the key of a document. Raises SourceRefusedError when none can go on after it."""
    element = first_element(raw)  # MongoDB stores `_id` first, wherever it stood
    if len(element) > _KEY_LIMIT_BYTES:
        raise SourceRefusedError(
            f"the snapshot can't go past a document whose _id has {len(element)} bytes",
            remedy=f"change or remove it: the limit is {_KEY_LIMIT_BYTES} bytes",
        )
    return base64.b64encode(element).decode()
