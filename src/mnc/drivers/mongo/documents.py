"""The documents of collections, read in chunks in the order of their `_id`.

Theory of operation. Each chunk is a query of its own, so that no cursor has to stay open, and a
crash costs nothing: it says after which `_id` it begins. A plain `$gt` would leave out every other
type than that of its operand, so the comparison is an expression, which knows the order of all
types, and the collection's collation; MongoDB answers it from the index of `_id`. An `_id` is kept
byte for byte: decoded and encoded again, some would sort elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final, TypeVar

import pymongo
import trio
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.errors import PyMongoError
from pymongo.read_preferences import ReadPreference

from mnc.capture.ports import Chunk, Document
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.cursor import RAW, decode
from mnc.drivers.mongo.failures import source_error
from mnc.drivers.mongo.pieces import first_element
from mnc.errors import SourceRefusedError
from mnc.model import ClusterTime, Namespace

__all__ = ["MongoDocuments"]

_T = TypeVar("_T")

_KEY_LIMIT_BYTES: Final = 64 * 1024
"""Of an `_id` that can be gone on after: positions hold it, and the broker's messages are small."""

_READ_S = 60.0
"""How long a chunk may take: a megabyte or so, but from a disk that others use too."""


class MongoDocuments:
    """The collections of the deployment that MONGO_URI names."""

    def __init__(self, connection: MongoConnection) -> None:
        self._connection = connection
        self._limiter = trio.CapacityLimiter(4)

    async def read(
        self, namespace: Namespace, *, after: str, since: ClusterTime, limit: int
    ) -> Chunk:
        """Return the documents that follow `after`; see `DocumentSource.read`."""
        command: dict[str, object] = {
            "find": namespace.collection,
            "sort": {"_id": 1},
            "limit": limit,
            "batchSize": limit,
            "singleBatch": True,
            # A new primary may have less of what a majority has than its predecessor had.
            "readConcern": {
                "level": "majority",
                "afterClusterTime": Timestamp(since.seconds, since.increment),
            },
        }
        if after:
            literal = first_element(base64.b64decode(after), name=b"$literal")
            command["filter"] = {"$expr": {"$gt": ["$_id", RawBSONDocument(literal)]}}

        def read() -> Chunk:
            reply = self._connection.client[namespace.database].command(
                command, codec_options=RAW, read_preference=ReadPreference.PRIMARY
            )
            batch = reply["cursor"]["firstBatch"]
            return Chunk(
                documents=[_document(bytes(raw.raw)) for raw in batch], size_bytes=len(reply.raw)
            )

        return await self._in_thread(read)

    async def estimate(self, namespace: Namespace) -> int:
        """Return about how many documents there are; see `DocumentSource.estimate`."""
        collection = self._connection.client[namespace.database][namespace.collection]
        return await self._in_thread(collection.estimated_document_count)

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        def bounded() -> _T:
            with pymongo.timeout(_READ_S):
                return function()

        try:
            return await trio.to_thread.run_sync(
                bounded, limiter=self._limiter, abandon_on_cancel=True
            )
        except PyMongoError as error:
            raise source_error(error) from error


def _document(raw: bytes) -> Document:
    """Decode a document. Raises SourceRefusedError when nobody could go on after its `_id`."""
    element = first_element(raw)  # MongoDB stores `_id` first, wherever it stood
    if len(element) > _KEY_LIMIT_BYTES:
        raise SourceRefusedError(
            f"the snapshot can't go past a document whose _id has {len(element)} bytes",
            remedy=f"change or remove it: the limit is {_KEY_LIMIT_BYTES} bytes",
        )
    return Document(fields=decode(raw), key=base64.b64encode(element).decode())
