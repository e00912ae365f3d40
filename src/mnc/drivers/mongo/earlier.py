"""The resume tokens of the earlier connectors, for `mnc migrate`. Nothing is changed.

A document: `{_id: ObjectId, value: "82..."}`, one more for each event that was published. Some keep
them in a capped collection, some never remove one. Which one was written last says little when two
instances wrote at once; which token is the latest says how far they came.
"""

from __future__ import annotations

from typing import Any

import pymongo
import trio
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.failures import checkpoint_error
from mnc.errors import CheckpointRefusedError
from mnc.migration.decision import EarlierTokens
from mnc.model import ResumeToken

__all__ = ["MongoEarlierConnector"]

_EACH = "*"
_SCAN_S = 60.0
"""A token a document, and no index: ten million of them take about ten seconds."""

_UNAUTHORIZED = 13
_NOTHING = {"documents": 0, "readable": 0, "newest": None}

_SUMMARY: list[dict[str, Any]] = [
    # mnc's own documents, which may stand in the same collection, have other ids.
    {"$match": {"_id": {"$type": "objectId"}}},
    {"$set": {"text": {"$cond": [{"$eq": [{"$type": "$value"}, "string"]}, "$value", ""]}}},
    # A token begins with its cluster time, which is of type 0x82.
    {"$set": {"is_token": {"$regexMatch": {"input": "$text", "regex": "^82[0-9A-F]{16,}$"}}}},
    {
        "$group": {
            "_id": None,
            "documents": {"$sum": 1},
            "readable": {"$sum": {"$cond": ["$is_token", 1, 0]}},
            "newest": {"$max": {"$cond": ["$is_token", "$text", None]}},
        }
    },
]


class MongoEarlierConnector:
    """The token collections of an earlier connector."""

    def __init__(self, connection: MongoConnection, *, place: str) -> None:
        """`place` is `DATABASE.COLLECTION`; a `*` in it stands for the watched collection."""
        self._connection = connection
        self._place = place
        self._found: dict[str, EarlierTokens] = {}
        """By their places: one may be that of many collections, and is read through."""

    async def tokens(self, collection: str, /) -> EarlierTokens:
        """Return what a token collection holds; see `EarlierConnector.tokens`.

        Cancellation: returns at once; the question goes on for up to a minute.
        """
        place = self._place.replace(_EACH, collection)
        if place not in self._found:
            self._found[place] = await self._read(place)
        return self._found[place]

    async def _read(self, place: str) -> EarlierTokens:
        try:
            found = await trio.to_thread.run_sync(self._summary, place, abandon_on_cancel=True)
        except PyMongoError as error:
            if isinstance(error, OperationFailure) and error.code == _UNAUTHORIZED:
                raise CheckpointRefusedError(
                    f"the user in MONGO_URI may not read {place}",
                    remedy="grant the role read on that database",
                    code=error.code,
                ) from error
            raise checkpoint_error(error) from error
        return EarlierTokens(
            place=place,
            documents=found["documents"],
            unreadable=found["documents"] - found["readable"],
            newest=None if found["newest"] is None else ResumeToken(found["newest"]),
        )

    def _summary(self, place: str) -> dict[str, Any]:
        database, _, name = place.partition(".")
        documents = self._connection.client[database].get_collection(
            name, read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
        )
        with pymongo.timeout(_SCAN_S):
            return next(documents.aggregate(_SUMMARY), _NOTHING)
