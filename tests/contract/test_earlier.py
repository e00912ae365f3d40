"""What an earlier connector leaves behind, in a real MongoDB and a real stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from bson import ObjectId
from tests.contract.streams import JetStreamHarness
from tests.fakes.values import token
from tests.jetstream import publish_message

from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.earlier import MongoEarlierConnector
from mnc.drivers.nats.look import StreamsByCollection
from mnc.drivers.nats.session import NatsSession
from mnc.embedded.servers import MongodProcess
from mnc.errors import SinkRefusedError, StreamMissingError
from mnc.migration.decision import EarlierTokens

pytestmark = pytest.mark.usefixtures("deadline")


@pytest.fixture
async def connection(mongod: MongodProcess, database: str) -> AsyncIterator[MongoConnection]:
    """Connect to a database of the test's own."""
    connection = MongoConnection(mongod.database_uri(database), app_name="contract")
    yield connection
    with trio.CancelScope(shield=True):
        await connection.close()


async def test_newest_token_is_that_of_the_latest_event(connection: MongoConnection) -> None:
    """Neither the order of the documents' ids counts, nor mnc's own documents beside them."""
    documents: list[dict[str, Any]] = [
        {"_id": ObjectId(), "value": token(2).data},
        {"_id": ObjectId(), "value": token(9).data},
        {"_id": ObjectId(), "value": token(3).data},
        {"_id": {"stream": "cs", "collection": "users"}, "token": token(99).data},
    ]
    await trio.to_thread.run_sync(connection.database["tokens"].insert_many, documents)
    place = f"{connection.database.name}.tokens"
    connector = MongoEarlierConnector(connection, place=place)
    assert await connector.tokens("users") == EarlierTokens(
        place=place, documents=3, unreadable=0, newest=token(9)
    )


async def test_documents_without_a_token_are_counted(connection: MongoConnection) -> None:
    """What isn't a token in any way is no token, and no error."""
    values = [None, 5, {"_data": token(1).data}, "", "82", "zz", "83" + "0" * 40, "82" + "x" * 40]
    documents: list[dict[str, Any]] = [{"value": value} for value in [*values, token(1).data]]
    await trio.to_thread.run_sync(connection.database["tokens_of.users"].insert_many, documents)
    connector = MongoEarlierConnector(connection, place=f"{connection.database.name}.tokens_of.*")
    assert await connector.tokens("users") == EarlierTokens(
        place=f"{connection.database.name}.tokens_of.users",
        documents=9,
        unreadable=8,
        newest=token(1),
    )
    assert (await connector.tokens("movies")).newest is None


async def test_last_event_of_a_stream_is_the_collections_own(
    jetstream: JetStreamHarness, nats_session: NatsSession
) -> None:
    """An event of another collection or database in the same stream says nothing of this one."""
    stream = f"{jetstream.name}-USERS"
    streams = StreamsByCollection(
        nats_session, streams=f"{jetstream.name}-*", database="test", timeout_s=5
    )
    with pytest.raises(StreamMissingError, match="--published-to"):
        await streams.last("users")
    jetstream.name = stream  # which is deleted at the end
    await jetstream.ask("STREAM.CREATE", {"name": stream, "subjects": [f"{stream}.*"]})
    assert await streams.last("users") is None

    async def publish(operation: str, payload: object) -> None:
        subject, body = f"{stream}.{operation}", json.dumps(payload).encode()
        await trio.to_thread.run_sync(publish_message, jetstream.url, subject, body)

    events = [
        ("insert", "test", "users", 1),
        ("delete", "test", "users", 3),
        ("replace", "test", "users", 2),
        ("update", "test", "movies", 8),
        ("insert", "other", "users", 9),
    ]
    for operation, database, collection, number in events:
        namespace = {"db": database, "coll": collection}
        await publish(operation, {"_id": {"_data": token(number).data}, "ns": namespace})
    assert await streams.last("users") == token(3)
    await publish("insert", {"ns": {"db": "test", "coll": "users"}})
    with pytest.raises(SinkRefusedError, match="no change event"):
        await streams.last("users")
