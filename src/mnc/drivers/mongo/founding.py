"""The founding of a cluster's group: one document in MongoDB, beside the token documents.

A document: `{_id: {cluster, stream}, group, generation, voters, state, updatedAt}`. It has no
`_id.collection`, so nobody takes it for a token document.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from mnc.cluster.formation import Founding
from mnc.cluster.messages import GroupId
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.failures import checkpoint_error
from mnc.errors import CheckpointRefusedError
from mnc.raft import NodeId

__all__ = ["MongoFoundingRegister"]


class MongoFoundingRegister:
    """The founding of one cluster for one stream, in `MONGO_RESUME_TOKENS_COLLECTION`."""

    def __init__(
        self, connection: MongoConnection, *, collection: str, cluster: str, stream: str
    ) -> None:
        self._connection = connection
        self._id = {"cluster": cluster, "stream": stream}
        self._documents = connection.database.get_collection(
            collection,
            read_preference=ReadPreference.PRIMARY,
            # Not "majority": a primary that was replaced and doesn't know it yet still answers that
            # with an older founding, which an instance could enter a second time. It costs a tenth
            # of a second, because MongoDB commits an empty write before it answers.
            read_concern=ReadConcern("linearizable"),
            write_concern=WriteConcern("majority"),
        )

    async def read(self) -> Founding | None:
        """Return the newest founding, or None; see `FoundingRegister.read`."""
        try:
            found = await self._connection.run(self._documents.find_one, {"_id": self._id})
        except PyMongoError as error:
            raise checkpoint_error(error) from error
        return None if found is None else _founding(found)

    async def found(self, founding: Founding) -> Founding:
        """Store a founding unless one as late is there; see `FoundingRegister.found`."""
        # Without a document there is no generation, which is less than any.
        is_older = {"$lt": ["$generation", founding.generation]}
        stored = {"$literal": {"_id": self._id, **_fields(founding)}}
        try:
            document = await self._connection.run(
                self._documents.find_one_and_update,
                {"_id": self._id},
                [{"$replaceWith": {"$cond": [is_older, stored, "$$ROOT"]}}],
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        except PyMongoError as error:
            raise checkpoint_error(error) from error
        assert document is not None  # noqa: S101 - an upsert that returns the document after
        return _founding(document)


def _fields(founding: Founding) -> dict[str, Any]:
    return {
        "group": founding.group,
        "generation": founding.generation,
        "voters": sorted(founding.voters),
        "state": founding.state,
        "updatedAt": datetime.now(UTC),
    }


def _founding(document: dict[str, Any]) -> Founding:
    """Read a founding. Raises CheckpointRefusedError when a person or a program spoilt it."""
    match document:
        case {
            "group": str(group),
            "generation": int(generation),
            "voters": list(voters),
            "state": bytes(state),
        }:
            return Founding(
                group=GroupId(group),
                generation=generation,
                voters=frozenset(NodeId(str(voter)) for voter in voters),
                state=state,
            )
        case _:
            raise CheckpointRefusedError(
                f"the founding document of {document['_id']} can't be read",
                remedy="restore it, or remove it from MONGO_RESUME_TOKENS_COLLECTION: "
                "a running instance puts it back",
            )
