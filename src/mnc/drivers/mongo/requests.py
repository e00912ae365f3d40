"""Requests for snapshots, in the token documents: whoever owns the collection finds them there."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from mnc.drivers.mongo.checkpoints import StreamOf, document_key, watched_namespace
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.failures import checkpoint_error
from mnc.model import Namespace, collection_key

__all__ = ["MongoSnapshotRequests"]

_FIELD = "snapshotRequestedAt"


class MongoSnapshotRequests:
    """The requests in `MONGO_RESUME_TOKENS_COLLECTION`, each for a collection in its stream."""

    def __init__(
        self, connection: MongoConnection, *, collection: str, stream_of: StreamOf
    ) -> None:
        self._connection = connection
        self._stream_of = stream_of
        self._documents = connection.database.get_collection(
            collection,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority"),
        )

    async def make(self, namespace: Namespace) -> bool:
        """Ask for a snapshot; say no if the collection isn't watched yet. Raises CheckpointError.

        Cancellation: it may have been asked for.
        """
        key = {"_id": document_key(self._stream_of(namespace), namespace)}
        try:
            result = await self._connection.run(
                self._documents.update_one, key, {"$set": {_FIELD: datetime.now(UTC)}}
            )
        except PyMongoError as error:
            raise checkpoint_error(error) from error
        return result.matched_count == 1

    async def pending(self) -> Collection[str]:
        """Return the keys of the collections that were asked for. Raises CheckpointError."""
        try:
            found = await self._connection.run(
                self._documents.distinct, "_id", {_FIELD: {"$exists": True}}
            )
        except PyMongoError as error:
            raise checkpoint_error(error) from error
        home = self._connection.database.name
        return [
            collection_key(it.database, it.collection, home=home)
            for key in found
            if (it := watched_namespace(key, self._stream_of))
        ]

    async def accept(self, namespace: Namespace) -> None:
        """Remove the request, once the snapshot's beginning is durable. Raises CheckpointError.

        Cancellation: it may be removed.
        """
        key = {"_id": document_key(self._stream_of(namespace), namespace)}
        try:
            await self._connection.run(self._documents.update_one, key, {"$unset": {_FIELD: ""}})
        except PyMongoError as error:
            raise checkpoint_error(error) from error
