"""MongoDB forgets changes before they were read: what happens then is the operator's choice."""

from __future__ import annotations

from typing import Any

import pytest
from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
from tests.servers import StartMongod
from tests.snapshots import assert_end_state
from tests.waiting import wait_until

from mnc.config.settings import SnapshotPolicy
from mnc.embedded.servers import MongodProcess

_OPLOG_MB = 8
_CHANGE_STREAM_HISTORY_LOST = 286


@pytest.fixture
def forgetful(start_own_mongod: StartMongod) -> MongodProcess:
    """Serve a mongod with a small oplog that is cut off every second."""
    return start_own_mongod(oplog_size_mb=_OPLOG_MB, extra_args=("--syncdelay", "1"))


def forget(mongod: MongodProcess) -> None:
    """Write to another database until the oplog no longer reaches back to now."""
    with MongoClient[dict[str, Any]](mongod.uri) as client:
        now: Timestamp = client.admin.command("ping")["operationTime"]
        other = client["other"]

        def has_forgotten() -> bool:
            other["filler"].insert_many([{"text": "x" * 100_000} for _ in range(100)])
            try:
                with other.watch(start_at_operation_time=now) as changes:
                    changes.try_next()
            except OperationFailure as error:
                return error.code == _CHANGE_STREAM_HISTORY_LOST
            return False

        wait_until(has_forgotten, timeout_s=30, what="the oplog to be cut off")


def lose_history(
    deploy: Deploy, mongod: MongodProcess, *, snapshot: SnapshotPolicy = "never"
) -> Deployment:
    """Watch `users` and a glob, end, and have changes of both forgotten, and a new collection."""
    deployment = deploy(
        mongod=mongod,
        collections=("users", "orders_1"),
        MONGO_WATCH_COLLECTIONS="users,orders_*",
        MONGO_SNAPSHOT=snapshot,
    )
    deployment.start_ready().kill()
    for name in deployment.collections:
        deployment.db[name].insert_many({"_id": number} for number in range(100))
    forget(mongod)
    return deployment


def lost_in(connector: ConnectorProcess) -> set[str]:
    """Return the collections that lack changes, by the log, which says so once of each."""
    (discovery,) = connector.log("discovery.renewed")
    renewed = connector.log("position.renewed")
    assert {line["level"] for line in (discovery, *renewed)} == {"warning"}
    assert all(line["skipped_s"] >= 0 for line in (discovery, *renewed))
    names = {line["collection"].partition(".")[2] for line in renewed}
    assert len(names) == len(renewed)
    return names


def test_lost_history_stops_the_collection_until_a_person_decides(
    deploy: Deploy, forgetful: MongodProcess
) -> None:
    """Nothing is skipped in silence: not ready, the reason and the remedy, and no hot loop.

    With permission the next start goes on from now, says so, and stores what is written then. That
    goes for a collection, and for the search for new ones.
    """
    deployment = lose_history(deploy, forgetful)
    stopped = deployment.start()
    for reason in ("users is stopped", "new collections can't be found"):
        stopped.wait_not_ready(reason, timeout_s=20)
    assert all("MONGO_ON_HISTORY_LOST" in reason for reason in stopped.reasons())
    assert len(stopped.log("lane.stopped")) == len(stopped.log("discovery.failed")) == 1
    assert stopped.terminate() == 0
    going_on = deployment.start_ready(MONGO_ON_HISTORY_LOST="now")
    assert lost_in(going_on) == set(deployment.collections)
    assert b"mnc_positions_renewed_total" in going_on.get("/metrics").content
    for name in deployment.collections:
        deployment.db[name].insert_one({"_id": "after"})
    wait_until(
        lambda: going_on.counted("events_checkpointed") == 2, timeout_s=20, what="the next events"
    )
    assert going_on.terminate() == 0
    subjects = {message.subject for message in deployment.oracle.messages()}
    assert subjects == {
        f"{deployment.stream}.{name}.insert.after" for name in deployment.collections
    }


def test_lost_history_is_healed_by_a_snapshot(deploy: Deploy, forgetful: MongodProcess) -> None:
    """With MONGO_SNAPSHOT=when_needed the stream has the documents again, and then the changes.

    Those of a collection that was created meanwhile, too.
    """
    deployment = lose_history(deploy, forgetful, snapshot="when_needed")
    connector = deployment.start()
    connector.wait_for_log("discovery.renewed")
    wait_until(
        lambda: len(connector.log("snapshot.completed")) == 2, timeout_s=20, what="both snapshots"
    )
    connector.wait_ready()
    assert lost_in(connector) == set(deployment.collections)
    for name in deployment.collections:
        deployment.db[name].insert_one({"_id": "after"})
    wait_until(
        lambda: connector.counted("events_checkpointed") == 202, timeout_s=20, what="all events"
    )
    assert connector.terminate() == 0
    for name in deployment.collections:
        assert_end_state(deployment.oracle.everything(), deployment.db, name)
