"""Token documents in MongoDB, one for each collection and stream.

A document: `{_id: {stream, database, collection}, token, typeBits, streamSeq, epoch, snapshot,
updatedAt}`; `snapshot` is null but for one that isn't complete.
The stream is part of the key: two connectors with streams of their own may share the collection,
and a collection that goes to another stream begins anew there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import trio
from bson.codec_options import CodecOptions
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError, WriteError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.failures import checkpoint_error
from mnc.encode.snapshot import snapshot_fields, snapshot_of
from mnc.errors import CheckpointRefusedError
from mnc.model import Checkpoint, Epoch, Namespace, Position, ResumeToken, StreamSeq

__all__ = ["MongoCheckpointStore", "StreamOf", "document_key", "watched_namespace"]

StreamOf = Callable[[Namespace], str]
"""Says which stream a collection goes to, by its name."""

_DUPLICATE_KEY = 11000


@dataclass(slots=True, eq=False)
class _Save:
    """A checkpoint that is to be written."""

    write: UpdateOne
    error: PyMongoError | None = None


class MongoCheckpointStore:
    """The checkpoints in `MONGO_RESUME_TOKENS_COLLECTION`, each of a collection in its stream."""

    def __init__(
        self, connection: MongoConnection, *, collection: str, stream_of: StreamOf
    ) -> None:
        self._connection = connection
        self._stream_of = stream_of
        self._documents = connection.database.get_collection(
            collection,
            codec_options=CodecOptions(tz_aware=True),
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority"),
        )
        self._saving = trio.Lock()
        self._saves: list[_Save] = []
        """What is to be written, or is being written; the oldest first."""

    async def load(self, namespace: Namespace) -> Checkpoint | None:
        """Return a collection's checkpoint, or None; see `CheckpointStore.load`."""
        try:
            found = await self._connection.run(
                self._documents.find_one, {"_id": self._key(namespace)}
            )
        except PyMongoError as error:
            raise checkpoint_error(error) from error
        return None if found is None else _checkpoint(found)

    async def watched(self, database: str) -> Collection[str]:
        """Return the names that have a checkpoint; see `NewcomerStore.watched`."""
        try:
            keys = await self._connection.run(
                self._documents.distinct, "_id", {"_id.database": database}
            )
        except PyMongoError as error:
            raise checkpoint_error(error) from error
        return [it.collection for key in keys if (it := watched_namespace(key, self._stream_of))]

    async def create(self, namespace: Namespace, checkpoint: Checkpoint) -> Checkpoint:
        """Store the first checkpoint unless there is one; see `CheckpointStore.create`."""
        try:
            document = await self._connection.run(
                self._documents.find_one_and_update,
                {"_id": self._key(namespace)},
                {"$setOnInsert": _fields(checkpoint)},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        except PyMongoError as error:
            raise checkpoint_error(error) from error
        assert document is not None  # noqa: S101 - an upsert that returns the document after
        return _checkpoint(document)

    async def save(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        """Store a checkpoint unless a later one is there; see `CheckpointStore.save`.

        One write is under way at a time, and what comes meanwhile goes together: a hundred quiet
        collections whose positions move on every ten seconds cost two commands and not a hundred.
        """
        save = _Save(self._write(namespace, checkpoint))
        self._saves.append(save)
        try:
            async with self._saving:
                if save in self._saves:
                    await self._save_all()
        finally:
            self._forget({save})
        if save.error is not None:
            raise checkpoint_error(save.error) from save.error

    async def _save_all(self) -> None:
        saves = tuple(self._saves)
        try:
            await self._connection.run(
                self._documents.bulk_write, [save.write for save in saves], ordered=False
            )
        except BulkWriteError as error:
            for save, reason in zip(saves, _reasons(error, count=len(saves)), strict=True):
                save.error = reason
        except PyMongoError as error:
            for save in saves:
                save.error = error
        # Not in a cancelled call: what others wait for is done again then, which does no harm.
        self._forget(set(saves))

    def _forget(self, saves: AbstractSet[_Save]) -> None:
        self._saves = [save for save in self._saves if save not in saves]

    def _write(self, namespace: Namespace, checkpoint: Checkpoint) -> UpdateOne:
        older = {"_id": self._key(namespace), "token": {"$lt": checkpoint.position.token.data}}
        return UpdateOne(older, {"$set": _fields(checkpoint)}, upsert=True)

    def _key(self, namespace: Namespace) -> dict[str, str]:
        return document_key(self._stream_of(namespace), namespace)


def _reasons(error: BulkWriteError, *, count: int) -> Sequence[PyMongoError | None]:
    """Return why each of `count` writes failed; None for those that didn't."""
    details: Mapping[str, Any] = error.details or {}
    # What isn't confirmed by a majority is nobody's fault, and concerns all.
    unconfirmed = error if details.get("writeConcernErrors") else None
    reasons: list[PyMongoError | None] = [unconfirmed] * count
    for failure in details.get("writeErrors", ()):
        if failure["code"] == _DUPLICATE_KEY:
            continue  # no older document matched, so the upsert met the one that is there
        reasons[failure["index"]] = WriteError(failure["errmsg"], failure["code"], failure)
    return reasons


def document_key(stream: str, namespace: Namespace) -> dict[str, str]:
    """Return the `_id` of a collection's token document."""
    return {
        "stream": stream,
        "database": namespace.database,
        "collection": namespace.collection,
    }


def watched_namespace(key: object, stream_of: StreamOf) -> Namespace | None:
    """Return the collection whose token document has this `_id`; None if it isn't of its stream.

    Documents of other streams are other connectors', or of before a collection went elsewhere.
    """
    match key:
        case {"stream": str(stream), "database": str(database), "collection": str(collection)}:
            namespace = Namespace(database=database, collection=collection)
            return namespace if stream_of(namespace) == stream else None
        case _:
            return None


def _fields(checkpoint: Checkpoint) -> dict[str, Any]:
    token, snapshot = checkpoint.position.token, checkpoint.position.snapshot
    return {
        "token": token.data,
        "typeBits": token.type_bits,
        "streamSeq": checkpoint.stream_seq,
        "epoch": checkpoint.position.epoch,
        "snapshot": snapshot and snapshot_fields(snapshot),
        "updatedAt": datetime.now(UTC),
    }


def _checkpoint(document: dict[str, Any]) -> Checkpoint:
    """Read a token document. Raises CheckpointRefusedError when a person or a program spoilt it."""
    try:
        token = ResumeToken(document["token"], document.get("typeBits"))
        _ = token.cluster_time  # raises when the token is none
        snapshot = document.get("snapshot")
        return Checkpoint(
            position=Position(
                token=token,
                epoch=Epoch(int(document["epoch"])),
                snapshot=None if snapshot is None else snapshot_of(snapshot),
            ),
            stream_seq=StreamSeq(int(document["streamSeq"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointRefusedError(
            f"the token document of {document['_id']} can't be read",
            remedy="restore it; or remove it, and the collection goes on from its position marker "
            "in the stream, or from now if that is gone too",
        ) from error
