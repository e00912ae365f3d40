"""Collections of several databases of one MongoDB, on real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from tests.cluster import Cluster
from tests.deployment import Deploy, Deployment
from tests.integration.checking import run_check
from tests.oracle import Oracle
from tests.waiting import wait_until
from tests.writer import Writer


class _Other:
    """A second database beside that of a deployment, with an oracle of its own."""

    def __init__(self, deployment: Deployment, *collections: str) -> None:
        self.name = f"{deployment.database}_crm"
        self.db: Database[dict[str, Any]] = deployment.client[self.name]
        self._deployment = deployment
        self._collections = collections
        self.oracle = Oracle(
            mongo_uri=deployment.mongo_uri,
            database=self.name,
            collections=collections,
            nats_url=deployment.nats_url,
            stream=deployment.stream,
        )

    def writer(self, *, seed: int) -> Writer:
        """Return a writer to its collections."""
        return Writer(self._deployment.mongo_uri, self.name, self._collections, seed=seed)

    def assert_exact(self, events: int) -> None:
        """Assert that the stream gets and stays exact with this many events of this database."""
        report = self.oracle.report(timeout_s=20)
        assert report.is_exact, report
        assert report.expected == events


@pytest.fixture
def deployment(deploy: Deploy) -> Iterator[Deployment]:
    """Make a deployment that watches `users` of two databases, and may be told of more."""
    made = deploy(collections=["users"])
    made.settings["MONGO_WATCH_COLLECTIONS"] = f"users,{made.database}_crm.users"
    yield made
    made.client.drop_database(f"{made.database}_crm")


def _operations(deployment: Deployment) -> Mapping[str, Sequence[str]]:
    """Return what happened to each collection, by its name in subjects, in order."""
    found: dict[str, list[str]] = {}
    for message in deployment.oracle.everything():
        _, name, operation, _ = message.subject.split(".")
        found.setdefault(name, []).append(operation)
    return found


def test_collections_of_one_name_are_kept_apart(deployment: Deployment) -> None:
    """Two databases are exact under writes and a crash, each under its own subjects."""
    other = _Other(deployment, "users")
    connector = deployment.start_ready()
    with deployment.writer(seed=61) as writer, other.writer(seed=62) as other_writer:
        writer.wait_for_events(100)
        connector.kill()
        other_writer.wait_for_events(50)
        deployment.start_ready()
        other_writer.wait_for_events(100)
    other.assert_exact(other_writer.events)
    deployment.finish(writer.events)
    assert set(_operations(deployment)) == {"users", f"{other.name}%2Eusers"}
    for message in deployment.oracle.messages():
        change = json.loads(message.payload)
        is_home = change["ns"] == {"db": deployment.database, "coll": "users"}
        assert message.subject.split(".")[1] == ("users" if is_home else f"{other.name}%2Eusers")


def test_dropping_a_database_leaves_the_others_alone(deployment: Deployment) -> None:
    """Only what is of the dropped database hears of it; both are watched on."""
    other = _Other(deployment, "users")
    other.db.create_collection("users")
    connector = deployment.start_ready(
        MONGO_WATCH_OPERATIONS="insert,update,replace,delete,drop,dropDatabase,invalidate"
    )
    deployment.db["users"].insert_one({"_id": 1})
    other.db["users"].insert_one({"_id": 1})
    deployment.client.drop_database(other.name)
    other.db["users"].insert_one({"_id": 2})
    deployment.db["users"].insert_one({"_id": 2})
    of_other = ["insert", "drop", "dropDatabase", "invalidate", "insert"]
    expected = {"users": ["insert", "insert"], f"{other.name}%2Eusers": of_other}
    wait_until(
        lambda: _operations(deployment) == expected, timeout_s=15, what="the operations of each"
    )
    assert connector.terminate() == 0
    assert _operations(deployment) == expected
    assert connector.troubles() == []


def test_globs_and_snapshots_are_of_any_database(deployment: Deployment) -> None:
    """What a glob takes in another database is found, and its documents are published."""
    other = _Other(deployment, "lead_2", "a.lead")
    deployment.settings["MONGO_WATCH_COLLECTIONS"] = ",".join(
        [f"{other.name}.*lead*", f"!{other.name}.lead_tmp", "users"]
    )
    other.db["lead_1"].insert_many([{"_id": 1}, {"_id": 2}])
    connector = deployment.start_ready(MONGO_SNAPSHOT="initial")
    for name in ("lead_2", "a.lead", "lead_tmp", "sales"):
        other.db[name].insert_one({"_id": 1})
    deployment.db["lead_3"].insert_one({"_id": 1})
    deployment.db["users"].insert_one({"_id": 1})
    expected = {
        "users": ["insert"],
        f"{other.name}%2Elead_1": ["read", "read"],
        f"{other.name}%2Elead_2": ["insert"],
        f"{other.name}%2Ea%2Elead": ["insert"],
    }
    wait_until(
        lambda: _operations(deployment) == expected, timeout_s=15, what="the operations of each"
    )
    found = {line["collection"] for line in connector.log("discovery.found")}
    assert found == {f"{other.name}.{name}" for name in ("lead_1", "lead_2", "a.lead")}
    shown = {each["collection"] for each in connector.collections()}
    assert shown == {*found, f"{deployment.database}.users"}
    done = deployment.run("snapshot", f"{other.name}.lead_1", f"{deployment.database}.users")
    assert done.returncode == 0, done.stderr
    assert f"{other.name}.lead_1: requested" in done.stdout
    other.assert_exact(2)
    deployment.finish(1)


def test_a_database_that_does_not_exist_is_told(deployment: Deployment) -> None:
    """Who writes a name with a dot and means no database is told how it is written."""
    wanted = f"{deployment.database}.{deployment.database}_crm.NAME"
    checked = run_check(deployment.settings, "--json")
    assert checked.level("MongoDB", "other databases") == "warning"
    assert wanted in checked.text("MongoDB", "other databases")
    connector = deployment.start_ready()
    [line] = connector.wait_for_log("mongo.database_missing")
    assert line["database"] == f"{deployment.database}_crm"
    assert wanted in line["remedy"]


@pytest.mark.soak
def test_a_cluster_shares_out_several_databases(deployment: Deployment, tmp_path: Path) -> None:
    """Each collection has one owner, and both databases stay exact when the leader is killed."""
    other = _Other(deployment, "users")
    cluster = Cluster(deployment, folder=tmp_path)
    leader = cluster.leader()

    def are_captured() -> bool:
        lanes = [lane for each in cluster.instances.values() for lane in each.collections()]
        captured = [lane["collection"] for lane in lanes if lane["state"] == "capturing"]
        return sorted(captured) == [f"{deployment.database}.users", f"{other.name}.users"]

    wait_until(are_captured, timeout_s=20, what="each collection to have one owner")
    with deployment.writer(seed=63) as writer, other.writer(seed=64) as other_writer:
        writer.wait_for_events(100)
        cluster.kill(leader)
        other_writer.wait_for_events(200)
    other.assert_exact(other_writer.events)
    deployment.finish(writer.events)
