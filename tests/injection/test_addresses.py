"""Clients that use these addresses stay behind the proxy, also after a broken connection."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from tests.injection.addresses import mongo_uri, nats_url
from tests.injection.faults import Cut
from tests.injection.thread import threaded
from tests.jetstream import ask_jetstream

from mnc.embedded.servers import MongodProcess, NatsServerProcess


def test_change_stream_through_a_proxy_survives_cuts(mongod: MongodProcess, database: str) -> None:
    """A driver reads, writes and resumes through the proxy alone."""
    with (
        threaded(mongod.port) as proxy,
        MongoClient[dict[str, Any]](mongo_uri(proxy.port, database)) as client,
        client.get_default_database()["users"].watch() as changes,
    ):
        users = client[database]["users"]
        for number in range(5):
            with client.start_session() as session, session.start_transaction():
                users.insert_one({"_id": number}, session=session)
            proxy.inject(Cut())
            assert next(changes)["documentKey"] == {"_id": number}
        statistics = proxy.statistics()
    assert statistics.cuts == 5
    assert statistics.connections_accepted > 5


def test_nats_client_finds_no_way_around_a_proxy(nats_server: NatsServerProcess) -> None:
    """A single server names no other address to its clients."""
    with threaded(nats_server.port) as proxy:
        assert "error" not in ask_jetstream(nats_url(proxy.port), "INFO")
        assert proxy.statistics().connections_accepted == 1
