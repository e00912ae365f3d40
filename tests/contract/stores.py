"""Both kinds of checkpoint store behind one handle."""

from __future__ import annotations

from typing import Protocol

from tests.fakes.checkpoints import FakeCheckpointStore

from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.supervise.discovery import NewcomerStore

__all__ = ["TOKENS_COLLECTION", "FakeStoreHarness", "MongoStoreHarness", "StoreHarness"]

TOKENS_COLLECTION = "cs_resume_tokens"


class StoreHarness(Protocol):
    """Gives the stores of several streams, which share a database."""

    def store(self, stream: str = "cs") -> NewcomerStore:
        """Return what is under test, anew, as after a restart."""
        ...


class FakeStoreHarness:
    """The fake, of which a stream has one."""

    def __init__(self) -> None:
        self._stores: dict[str, FakeCheckpointStore] = {}

    def store(self, stream: str = "cs") -> NewcomerStore:
        """Return the stream's store."""
        return self._stores.setdefault(stream, FakeCheckpointStore())


class MongoStoreHarness:
    """The driver."""

    def __init__(self, connection: MongoConnection) -> None:
        self._connection = connection

    def store(self, stream: str = "cs") -> NewcomerStore:
        """Return a new store."""
        return MongoCheckpointStore(
            self._connection, collection=TOKENS_COLLECTION, stream_of=lambda _: stream
        )
