"""The fakes and the real drivers, each as the same fixture."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol, cast

import pytest
import trio
from pymongo import MongoClient
from tests.contract.newcomers import (
    FakeNewcomerHarness,
    MongoNewcomerHarness,
    NewcomerHarness,
)
from tests.contract.registers import FakeRegisterHarness, MongoRegisterHarness, RegisterHarness
from tests.contract.sources import FakeSourceHarness, MongoHarness, SourceHarness
from tests.contract.stores import FakeStoreHarness, MongoStoreHarness, StoreHarness
from tests.contract.streams import FakeStreamHarness, JetStreamHarness, StreamHarness
from tests.contract.transports import (
    FakeTransportHarness,
    NatsTransportHarness,
    TransportHarness,
)
from tests.servers import DENYING, OLD_SERVERS, OldNats, login

from mnc.capture.options import CaptureOptions
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream import JetStream
from mnc.embedded.servers import MongodProcess, NatsServerProcess, start_nats_server
from mnc.encode.subject import stream_subjects

_ACK_TIMEOUT_S = 5.0
_TEST_TIMEOUT_S = 30.0
_DENIED_S = 0.5
"""How long an answer is waited for that doesn't come because the user may not ask."""


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


class Connect(Protocol):
    """Connect one more driver to a stream, with a connection of its own."""

    async def __call__(self, url: str, stream: str, *, require_fencing: bool = False) -> JetStream:
        """Connect one."""
        ...


@pytest.fixture
async def connect(nursery: trio.Nursery) -> Connect:
    """Let a test connect as many drivers as it wants."""

    async def connect_one(url: str, stream: str, *, require_fencing: bool = False) -> JetStream:
        session = NatsSession([url], name="contract")
        await nursery.start(session.run)
        with trio.fail_after(10):
            await session.wait_connected()
        return JetStream(
            session,
            stream=stream,
            subjects=stream_subjects(stream),
            ack_timeout_s=_DENIED_S,
            require_fencing=require_fencing,
        )

    return connect_one


@pytest.fixture(scope="session")
def denying_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServerProcess]:
    """Serve JetStream for the whole session, with a user `mnc` who may not change streams."""
    data_dir = tmp_path_factory.mktemp("denying-nats-server")
    server = start_nats_server(data_dir, extra_config=DENYING)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(data_dir)


async def _old(server: NatsServerProcess, connect: Connect, name: str) -> JetStreamHarness:
    return JetStreamHarness(await connect(server.url, name), url=server.url, name=name)


async def _unchangeable(server: NatsServerProcess, connect: Connect, name: str) -> JetStreamHarness:
    port_url = login(server.url, "mnc")
    port = await connect(port_url, name)
    harness = JetStreamHarness(port, url=server.url, name=name, port_url=port_url)
    assert "error" not in await harness.ask(
        "STREAM.CREATE", {"name": name, "subjects": [f"{name}.>"]}
    )
    return harness


@pytest.fixture(params=OLD_SERVERS)
async def old(
    request: pytest.FixtureRequest, old_nats: OldNats, connect: Connect, stream_name: str
) -> AsyncIterator[JetStreamHarness]:
    """Give the driver on servers without atomic batches, with a stream that isn't made yet."""
    harness = await _old(old_nats(request.param), connect, stream_name)
    yield harness
    with trio.CancelScope(shield=True):
        await harness.delete()


@pytest.fixture
async def unchangeable(
    denying_nats: NatsServerProcess, connect: Connect, stream_name: str
) -> AsyncIterator[JetStreamHarness]:
    """Give the driver, with an operator's stream that takes all subjects and may not be changed."""
    harness = await _unchangeable(denying_nats, connect, stream_name)
    yield harness
    with trio.CancelScope(shield=True):
        await harness.delete()


@pytest.fixture(params=[*OLD_SERVERS, None], ids=lambda version: version or "unchangeable")
async def unready(
    request: pytest.FixtureRequest,
    old_nats: OldNats,
    denying_nats: NatsServerProcess,
    connect: Connect,
    stream_name: str,
) -> AsyncIterator[JetStreamHarness]:
    """Give each driver in turn whose stream takes no atomic batches."""
    if request.param is None:
        harness = await _unchangeable(denying_nats, connect, stream_name)
    else:
        harness = await _old(old_nats(request.param), connect, stream_name)
    yield harness
    with trio.CancelScope(shield=True):
        await harness.delete()


@pytest.fixture
async def unbatched(unready: JetStreamHarness) -> JetStreamHarness:
    """Give each in turn, with its stream made ready."""
    await unready.port.ensure()
    return unready


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
    source = MongoChangeSource(mongo_connection, options=CaptureOptions())
    return MongoHarness(source, client=mongo_client, database=database)


@pytest.fixture(params=["fake", "real"])
def changes(request: pytest.FixtureRequest) -> SourceHarness:
    """Give both sources in turn."""
    if request.param == "fake":
        return FakeSourceHarness()
    return cast(SourceHarness, request.getfixturevalue("mongo"))


@pytest.fixture
async def mongo_newcomers(
    mongo: MongoHarness, mongo_connection: MongoConnection
) -> MongoNewcomerHarness:
    """Give the driver that looks for collections."""
    return MongoNewcomerHarness(mongo, mongo_connection)


@pytest.fixture(params=["fake", "real"])
def newcomers(request: pytest.FixtureRequest) -> NewcomerHarness:
    """Give both sources of newcomers in turn."""
    if request.param == "fake":
        return FakeNewcomerHarness()
    return cast(NewcomerHarness, request.getfixturevalue("mongo_newcomers"))


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


@pytest.fixture
def mongo_register(mongo_connection: MongoConnection) -> MongoRegisterHarness:
    """Give the driver that keeps foundings."""
    return MongoRegisterHarness(mongo_connection)


@pytest.fixture(params=["fake", "real"])
def registers(request: pytest.FixtureRequest) -> RegisterHarness:
    """Give both registers in turn."""
    if request.param == "fake":
        return FakeRegisterHarness()
    return cast(RegisterHarness, request.getfixturevalue("mongo_register"))


@pytest.fixture(params=["fake", "real"])
def transports(
    request: pytest.FixtureRequest,
    nursery: trio.Nursery,
    deadline: None,  # noqa: ARG001 - pytest-trio doesn't start what `usefixtures` names
) -> TransportHarness:
    """Give both networks in turn."""
    if request.param == "fake":
        return FakeTransportHarness()
    server: NatsServerProcess = request.getfixturevalue("nats_server")
    return NatsTransportHarness(server.url, nursery)
