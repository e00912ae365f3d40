"""Both kinds of change source behind one handle, and reading from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio
from pymongo import MongoClient
from tests.fakes.source import FakeSource

from mnc.capture.ports import (
    ChangeDocument,
    ChangeSource,
    ChangeStream,
    Open,
    Reply,
    StartAfter,
    StartAt,
)
from mnc.encode.event import Encoder
from mnc.model import ResumeToken

__all__ = [
    "FakeSourceHarness",
    "MongoHarness",
    "SourceHarness",
    "after_invalidate",
    "opened",
    "read_after",
    "read_until_invalidated",
    "resume_exactly",
    "token_of",
]

token_of = Encoder.token_of


class SourceHarness(Protocol):
    """A source, and writing to the database behind it."""

    @property
    def source(self) -> ChangeSource:
        """What is under test."""
        ...

    async def insert(self, collection: str, document_id: object) -> None:
        """Commit one insert."""
        ...

    async def transact(self, *collections: str) -> None:
        """Commit an insert into each of `collections`, in one transaction."""
        ...

    async def rename(self, collection: str, target: str) -> None:
        """Rename a collection."""
        ...

    async def drop_database(self) -> None:
        """Drop the database."""
        ...


class FakeSourceHarness:
    """The fake, which is written to on itself."""

    def __init__(self) -> None:
        self.source = FakeSource()

    async def insert(self, collection: str, document_id: object) -> None:
        """Commit one insert."""
        self.source.write(collection, document_id=document_id)

    async def transact(self, *collections: str) -> None:
        """Commit an insert into each of `collections`, in one transaction."""
        self.source.transact(*collections)

    async def rename(self, collection: str, target: str) -> None:
        """Rename a collection."""
        self.source.rename(collection, target)

    async def drop_database(self) -> None:
        """Drop the database."""
        self.source.drop_database()


class MongoHarness:
    """The driver, and a client of the test's own beside it."""

    def __init__(
        self, source: ChangeSource, *, client: MongoClient[dict[str, Any]], database: str
    ) -> None:
        self.source = source
        self.client = client
        self.database = client[database]

    async def insert(self, collection: str, document_id: object) -> None:
        """Commit one insert."""
        await trio.to_thread.run_sync(self.database[collection].insert_one, {"_id": document_id})

    async def transact(self, *collections: str) -> None:
        """Commit an insert into each of `collections`, in one transaction."""

        def transact() -> None:
            for name in set(collections) - set(self.database.list_collection_names()):
                self.database.create_collection(name)
            with self.client.start_session() as session, session.start_transaction():
                for name in collections:
                    self.database[name].insert_one({}, session=session)

        await trio.to_thread.run_sync(transact)

    async def rename(self, collection: str, target: str) -> None:
        """Rename a collection."""
        await trio.to_thread.run_sync(self.database[collection].rename, target)

    async def drop_database(self) -> None:
        """Drop the database."""
        await trio.to_thread.run_sync(self.client.drop_database, self.database.name)


@asynccontextmanager
async def opened(
    source: ChangeSource, collections: Collection[str], start: Open
) -> AsyncIterator[ChangeStream]:
    """Open a change stream for a while."""
    stream = await source.open(collections, start=start)
    try:
        yield stream
    finally:
        await stream.aclose()


async def read_after(
    source: ChangeSource,
    collections: Collection[str],
    position: ResumeToken,
    *,
    count: int,
    start: Open | None = None,
    batch_size: int = 100,
) -> Sequence[ChangeDocument]:
    """Read as capture does: from a position's cluster time, without what isn't after it.

    Reads on until there are `count` events; for 0, to a reply without any.
    """
    found: list[ChangeDocument] = []
    start = start or StartAt(position.cluster_time)
    async with opened(source, collections, start) as stream:
        while True:
            reply = await stream.next_reply(batch_size=batch_size)
            found += [change for change in reply.events if token_of(change) > position]
            if len(found) >= count and (count or not reply.events):
                return found


async def read_until_invalidated(
    source: ChangeSource, collections: Collection[str], start: Open
) -> Reply:
    """Return the reply with which the server closes the cursor."""
    async with opened(source, collections, start) as stream:
        while True:
            reply = await stream.next_reply(batch_size=100)
            if reply.invalidated:
                return reply


async def resume_exactly(
    source: ChangeSource, collections: Collection[str], changes: Sequence[ChangeDocument]
) -> None:
    """Assert that reading goes on exactly after each of `changes`, all that there are."""
    tokens = [token_of(change) for change in changes]
    for index, token in enumerate(tokens[:-1]):
        rest = tokens[index + 1 :]
        found = await read_after(source, collections, token, count=len(rest))
        assert [token_of(change) for change in found] == rest


def after_invalidate(reply: Reply) -> StartAfter:
    """Return how to go on after the reply that closed a cursor."""
    assert reply.invalidated
    return StartAfter(reply.token)
