"""Collections that globs take: those that exist, and a change stream that shows new ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bson.timestamp import Timestamp
from pymongo.errors import PyMongoError

from mnc.capture.options import CaptureOptions
from mnc.config import Selection
from mnc.drivers.mongo.changes import MongoChangeStream
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.failures import source_error
from mnc.drivers.mongo.large import Stage
from mnc.model import ClusterTime, ResumeToken

__all__ = ["MongoNewcomerSource"]


class MongoNewcomerSource:
    """What the globs of a selection take in its database."""

    def __init__(self, connection: MongoConnection, selection: Selection, *, database: str) -> None:
        self._connection = connection
        self._selection = selection
        self._database = database

    async def current_token(self) -> ResumeToken:
        """Return a token after everything committed so far; see `NewcomerSource.current_token`."""
        stream = await self._open({}, known=(), not_after=None)
        try:
            return stream.opened_at
        finally:
            await stream.aclose()

    async def existing(self) -> Collection[str]:
        """Return the collections that exist; see `NewcomerSource.existing`."""
        try:
            names = await self._connection.run(self._list)
        except PyMongoError as error:
            raise source_error(error) from error
        return [name for name in names if self._selection.wants(name)]

    async def open(self, known: Collection[str], *, since: ClusterTime) -> MongoChangeStream:
        """Open a change stream over all but `known`; see `NewcomerSource.open`."""
        at = Timestamp(since.seconds, since.increment)
        return await self._open({"startAtOperationTime": at}, known=known, not_after=since)

    def _list(self) -> Collection[str]:
        found = self._connection.client[self._database].list_collections(
            filter={"type": "collection"},  # neither views nor time series have change events
            nameOnly=True,
            authorizedCollections=True,
        )
        return [each["name"] for each in found]

    async def _open(
        self, start: Mapping[str, object], *, known: Collection[str], not_after: ClusterTime | None
    ) -> MongoChangeStream:
        stages: list[Stage] = [
            {"$match": {"$expr": _filter(self._selection.pattern, known)}},
            # So that an event is never too large, and a busy collection costs little.
            {"$project": {"ns": 1, "to": 1, "operationType": 1}},
        ]
        # Nothing is looked up: only the names count.
        options = CaptureOptions(database=self._database, full_document="off")
        stream = MongoChangeStream(self._connection, stages, options=options)
        try:
            await stream.open(start, not_after=not_after)
        except BaseException:
            await stream.aclose()
            raise
        return stream


def _filter(pattern: str, known: Collection[str]) -> dict[str, object]:
    """Return an expression that lets pass what `pattern` matches and isn't known.

    An expression, because MongoDB looks names up in a constant list by their hash there, and only
    evaluates the pattern for what is left: 4 microseconds for each entry of the oplog, whether a
    name is known or a thousand are, where a query's `$nin` and `$regex` took 15 and more.
    """
    named = [
        {
            "$and": [
                {"$not": [{"$in": [name, {"$literal": list(known)}]}]},
                {"$regexMatch": {"input": name, "regex": pattern}},
            ]
        }
        for name in ("$ns.coll", "$to.coll")  # what something is renamed to
    ]
    # An invalidate ends the stream, which must be noticed.
    return {"$or": [*named, {"$eq": ["$operationType", "invalidate"]}]}
