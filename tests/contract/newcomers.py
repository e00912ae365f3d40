"""Both kinds of newcomer source behind one handle."""

from __future__ import annotations

from typing import Protocol

import trio
from tests.contract.sources import FakeSourceHarness, MongoHarness
from tests.fakes.newcomers import FakeNewcomerSource

from mnc.config import Selection
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.newcomers import MongoNewcomerSource
from mnc.supervise.discovery import NewcomerSource

__all__ = ["FakeNewcomerHarness", "MongoNewcomerHarness", "NewcomerHarness"]


class NewcomerHarness(Protocol):
    """Gives sources for selections, and writes to the database behind them."""

    def source(self, *entries: str) -> NewcomerSource:
        """Return what is under test, for entries of MONGO_WATCH_COLLECTIONS."""
        ...

    async def insert(self, collection: str) -> None:
        """Commit one insert."""
        ...

    async def drop_database(self) -> None:
        """Drop the database."""
        ...


class FakeNewcomerHarness:
    """The fake."""

    def __init__(self) -> None:
        self._changes = FakeSourceHarness()

    def source(self, *entries: str) -> NewcomerSource:
        """Return a fake over the one oplog."""
        return FakeNewcomerSource(self._changes.source, Selection.of(entries).wants)

    async def insert(self, collection: str) -> None:
        """Commit one insert."""
        await self._changes.insert(collection, 1)

    async def drop_database(self) -> None:
        """Drop the database."""
        await self._changes.drop_database()


class MongoNewcomerHarness:
    """The driver."""

    def __init__(self, changes: MongoHarness, connection: MongoConnection) -> None:
        self.changes = changes
        self._connection = connection

    def source(self, *entries: str) -> NewcomerSource:
        """Return a driver."""
        return MongoNewcomerSource(
            self._connection, Selection.of(entries), database=self._connection.database.name
        )

    async def insert(self, collection: str) -> None:
        """Commit one insert."""
        await trio.to_thread.run_sync(self.changes.database[collection].insert_one, {})

    async def drop_database(self) -> None:
        """Drop the database."""
        await self.changes.drop_database()
