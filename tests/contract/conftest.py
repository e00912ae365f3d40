"""The fakes and the real drivers, each as the same fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import trio
from pymongo import MongoClient
from tests.contract.sources import FakeSourceHarness, MongoHarness, SourceHarness
from tests.contract.stores import FakeStoreHarness, MongoStoreHarness, StoreHarness
from tests.contract.streams import FakeStreamHarness, JetStreamHarness, StreamHarness

from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.embedded.servers import MongodProcess, NatsServerProcess
from mnc.encode.subject import stream_subjects

_ACK_TIMEOUT_S = 5.0
_TEST_TIMEOUT_S = 30.0


@pytest.fixture
async def deadline(nursery: trio.Nursery) -> None:
    """Fail a test that hangs."""

    async def expire() -> None:
        await trio.sleep(_TEST_TIMEOUT_S)
        raise trio.TooSlowError

    nursery.start_soon(expire)


@pytest.fixture
async def nats_session(
    nats_server: NatsServerProcess, nursery: trio.Nursery
) -> AsyncIterator[NatsSession]:
    """Connect to the session's nats-server."""
    session = NatsSession([nats_server.url], name="contract")
    await nursery.start(session.run)
    with trio.fail_after(10):
        await session.wait_connected()
    yield session
    nursery.cancel_scope.cancel()


@pytest.fixture
async def jetstream(
    nats_server: NatsServerProcess, nats_session: NatsSession, stream_name: str
) -> AsyncIterator[JetStreamHarness]:
    """Give the driver, with a stream that isn't made yet."""
    port = JetStream(
        nats_session,
        stream=stream_name,
        subjects=stream_subjects(stream_name),
        ack_timeout_s=_ACK_TIMEOUT_S,
    )
    harness = JetStreamHarness(port, url=nats_server.url, name=stream_name)
    yield harness
    with trio.CancelScope(shield=True):
        await harness.delete()


@pytest.fixture(params=["fake", "real"])
def harness(request: pytest.FixtureRequest, stream_name: str) -> StreamHarness:
    """Give both streams in turn, not made yet."""
    if request.param == "fake":
        return FakeStreamHarness(stream_name)
    return cast(StreamHarness, request.getfixturevalue("jetstream"))


@pytest.fixture
async def mongo_connection(mongod: MongodProcess, database: str) -> AsyncIterator[MongoConnection]:
    """Connect to a database of the session's mongod."""
    connection = MongoConnection(mongod.database_uri(database), app_name="contract")
    yield connection
    with trio.CancelScope(shield=True):
        await connection.close()


@pytest.fixture
async def mongo(
    mongo_connection: MongoConnection, mongo_client: MongoClient[dict[str, Any]], database: str
) -> MongoHarness:
    """Give the driver that reads change streams."""
    source = MongoChangeSource(mongo_connection, full_document="updateLookup")
    return MongoHarness(source, client=mongo_client, database=database)


@pytest.fixture(params=["fake", "real"])
def changes(request: pytest.FixtureRequest) -> SourceHarness:
    """Give both sources in turn."""
    if request.param == "fake":
        return FakeSourceHarness()
    return cast(SourceHarness, request.getfixturevalue("mongo"))


@pytest.fixture
def mongo_store(mongo_connection: MongoConnection) -> MongoStoreHarness:
    """Give the driver that keeps token documents."""
    return MongoStoreHarness(mongo_connection)


@pytest.fixture(params=["fake", "real"])
def stores(request: pytest.FixtureRequest) -> StoreHarness:
    """Give both checkpoint stores in turn."""
    if request.param == "fake":
        return FakeStoreHarness()
    return cast(StoreHarness, request.getfixturevalue("mongo_store"))
