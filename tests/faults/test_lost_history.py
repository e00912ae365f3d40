"""MongoDB forgets changes before they were read: what happens then is the operator's choice."""

from __future__ import annotations

from typing import Any

import pytest
from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from tests.deployment import Deploy
from tests.servers import StartMongod
from tests.snapshots import assert_end_state
from tests.waiting import wait_until

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


def test_lost_history_stops_the_collection_until_a_person_decides(
    deploy: Deploy, forgetful: MongodProcess
) -> None:
    """Nothing is skipped in silence: not ready, the reason and the remedy, and no hot loop.

    With permission the next start goes on from now, says so, and stores what is written then.
    """
    deployment = deploy(mongod=forgetful, collections=("users",))
    deployment.start_ready().kill()
    deployment.db["users"].insert_one({"_id": "forgotten"})
    forget(forgetful)
    stopped = deployment.start()
    stopped.wait_not_ready("MONGO_ON_HISTORY_LOST", timeout_s=20)
    assert len(stopped.log("lane.stopped")) == 1
    assert stopped.terminate() == 0
    going_on = deployment.start_ready(MONGO_ON_HISTORY_LOST="now")
    (renewed,) = going_on.log("position.renewed")
    assert renewed["level"] == "warning"
    assert renewed["skipped_s"] >= 0
    assert b"mnc_positions_renewed_total" in going_on.get("/metrics").content
    deployment.db["users"].insert_one({"_id": "after"})
    wait_until(lambda: going_on.counted("events_checkpointed"), timeout_s=20, what="the next event")
    assert going_on.terminate() == 0
    (message,) = deployment.oracle.messages()
    assert message.subject.endswith(".insert.after")


def test_lost_history_is_healed_by_a_snapshot(deploy: Deploy, forgetful: MongodProcess) -> None:
    """With MONGO_SNAPSHOT=when_needed the stream has the documents again, and then the changes."""
    deployment = deploy(mongod=forgetful, collections=("users",), MONGO_SNAPSHOT="when_needed")
    deployment.start_ready().kill()
    deployment.db["users"].insert_many({"_id": number} for number in range(100))
    forget(forgetful)
    connector = deployment.start()
    connector.wait_for_log("position.renewed")
    connector.wait_for_log("snapshot.completed")
    connector.wait_ready()
    deployment.db["users"].insert_one({"_id": "after"})
    wait_until(
        lambda: connector.counted("events_checkpointed") == 101, timeout_s=20, what="all events"
    )
    assert connector.terminate() == 0
    assert_end_state(deployment.oracle.everything(), deployment.db, "users")


def test_what_was_created_in_lost_history_is_found(
    deploy: Deploy, forgetful: MongodProcess
) -> None:
    """New collections aren't missed in silence: not ready, or found anew and begun as is set."""
    names = ("orders_1", "orders_2")
    deployment = deploy(mongod=forgetful, collections=names, MONGO_WATCH_COLLECTIONS="orders_*")
    deployment.start_ready().kill()
    deployment.db["orders_1"].insert_one({"_id": 1})
    deployment.db["orders_2"].insert_many({"_id": number} for number in range(100))
    forget(forgetful)
    stopped = deployment.start()
    stopped.wait_not_ready("new collections can't be found", timeout_s=20)
    stopped.wait_not_ready("MONGO_ON_HISTORY_LOST", timeout_s=1)
    assert len(stopped.log("discovery.failed")) == 1
    assert stopped.terminate() == 0
    connector = deployment.start_ready(MONGO_ON_HISTORY_LOST="snapshot")
    assert len(connector.log("discovery.renewed")) == 1
    late = connector.log("position.renewed")
    assert [line["collection"] for line in late] == [
        f"{deployment.database}.{name}" for name in names
    ]
    for name in names:
        deployment.db[name].insert_one({"_id": "after"})
    wait_until(
        lambda: connector.counted("events_checkpointed") == 103, timeout_s=20, what="all events"
    )
    assert connector.terminate() == 0
    for name in names:
        assert_end_state(deployment.oracle.everything(), deployment.db, name)
