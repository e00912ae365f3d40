"""Requests for snapshots: kept in MongoDB until the owner has begun."""

from __future__ import annotations

import pytest
from tests.contract.stores import TOKENS_COLLECTION
from tests.fakes.values import checkpoint

from mnc.drivers.mongo.checkpoints import MongoCheckpointStore
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.requests import MongoSnapshotRequests
from mnc.model import Namespace

pytestmark = pytest.mark.usefixtures("deadline")


def _requests(connection: MongoConnection, stream: str = "cs") -> MongoSnapshotRequests:
    return MongoSnapshotRequests(
        connection, collection=TOKENS_COLLECTION, stream_of=lambda _: stream
    )


def _store(connection: MongoConnection, stream: str = "cs") -> MongoCheckpointStore:
    return MongoCheckpointStore(
        connection, collection=TOKENS_COLLECTION, stream_of=lambda _: stream
    )


async def test_a_request_stands_until_it_is_accepted(
    mongo_connection: MongoConnection, database: str
) -> None:
    """It outlives checkpoints, which say nothing of it, and asking twice is asking once."""
    users = Namespace(database=database, collection="users")
    store, requests = _store(mongo_connection), _requests(mongo_connection)
    await store.create(users, checkpoint(1, stream_seq=0))
    assert list(await requests.pending()) == []
    assert await requests.make(users)
    assert await requests.make(users)
    await store.save(users, checkpoint(2, stream_seq=7))
    assert list(await requests.pending()) == ["users"]
    await requests.accept(users)
    assert list(await requests.pending()) == []
    assert await store.load(users) == checkpoint(2, stream_seq=7)


async def test_a_collection_that_is_not_watched_takes_no_request(
    mongo_connection: MongoConnection, database: str
) -> None:
    """Nothing is written: a document with a request alone would be no position."""
    users = Namespace(database=database, collection="users")
    assert not await _requests(mongo_connection).make(users)
    assert await _store(mongo_connection).load(users) is None


async def test_a_request_is_one_streams(mongo_connection: MongoConnection, database: str) -> None:
    """Two connectors may share the token collection."""
    users = Namespace(database=database, collection="users")
    for stream in ("cs", "other"):
        await _store(mongo_connection, stream).create(users, checkpoint(1, stream_seq=0))
    assert await _requests(mongo_connection).make(users)
    assert list(await _requests(mongo_connection, "other").pending()) == []


async def test_each_collection_has_its_own_stream(
    mongo_connection: MongoConnection, database: str
) -> None:
    """Checkpoints and requests are in its stream, and what another stream has of it is no more."""
    users, orders = (Namespace(database=database, collection=name) for name in ("users", "orders"))
    for namespace in (users, orders):
        await _store(mongo_connection).create(namespace, checkpoint(1, stream_seq=0))
        assert await _requests(mongo_connection).make(namespace)

    def stream_of(namespace: Namespace) -> str:
        return "own" if namespace == orders else "cs"

    store = MongoCheckpointStore(
        mongo_connection, collection=TOKENS_COLLECTION, stream_of=stream_of
    )
    requests = MongoSnapshotRequests(
        mongo_connection, collection=TOKENS_COLLECTION, stream_of=stream_of
    )
    assert list(await store.watched(database)) == ["users"]
    assert list(await requests.pending()) == ["users"]
    assert await store.load(orders) is None
    await store.save(orders, checkpoint(2, stream_seq=0))
    assert await requests.make(orders)
    assert set(await store.watched(database)) == {"users", "orders"}
    assert set(await requests.pending()) == {"users", "orders"}
    assert await _store(mongo_connection, "own").load(orders) == checkpoint(2, stream_seq=0)


async def test_requests_are_of_any_database(
    mongo_connection: MongoConnection, database: str
) -> None:
    """They are found by the keys of their collections."""
    for other, name in (("crm", "users"), (database, "a.b"), ("crm", "a.b")):
        namespace = Namespace(database=other, collection=name)
        await _store(mongo_connection).create(namespace, checkpoint(1, stream_seq=0))
        assert await _requests(mongo_connection).make(namespace)
    keys = {"crm.users", f"{database}.a.b", "crm.a.b"}
    assert set(await _requests(mongo_connection).pending()) == keys
