"""Globs on real servers: collections that are created later are watched from their first write."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cluster import SIZE, Cluster
from tests.deployment import TOKENS, Deploy, Deployment
from tests.integration.checking import run_check
from tests.waiting import wait_until

_GLOBS = "*,!audit_*,!oracle_*"


def _names(first: int, last: int) -> list[str]:
    return [f"orders_{number}" for number in range(first, last + 1)]


def _write(deployment: Deployment, names: list[str]) -> int:
    """Create collections with three documents each; return how many events that makes."""
    for name in names:
        collection = deployment.db[name]
        collection.insert_many([{"_id": 1}, {"_id": 2}])
        collection.update_one({"_id": 1}, {"$set": {"seen": True}})
    return 3 * len(names)


def test_no_write_to_a_new_collection_is_lost(deploy: Deploy) -> None:
    """Collections that are created before the first start, while it runs and while it's down."""
    deployment = deploy(collections=_names(1, 12), MONGO_WATCH_COLLECTIONS=_GLOBS)
    deployment.db.create_collection("orders_1")
    deployment.db.create_collection("seen", viewOn="orders_1", pipeline=[])
    connector = deployment.start_ready()
    events = _write(deployment, [*_names(1, 3), "audit_1"]) - 3
    deployment.db["orders_3"].drop()
    wait_until(
        lambda: len(connector.log("discovery.found")) == 3,
        timeout_s=10,
        what="the collections to be found",
    )
    connector.kill()
    events += _write(deployment, _names(4, 6))
    deployment.db["orders_4"].drop()
    deployment.db["orders_5"].rename("audit_5")
    connector = deployment.start()
    events += _write(deployment, _names(7, 9))
    connector.wait_ready()
    events += _write(deployment, _names(10, 12))
    deployment.finish(events)
    assert connector.troubles() == []
    watched = set(deployment.db[TOKENS].distinct("_id.collection"))
    assert watched == {"", *_names(1, 12)}  # "" is where discovery stands


@pytest.mark.soak
def test_a_new_leader_goes_on_looking(deploy: Deploy, tmp_path: Path) -> None:
    """What a leader found stays with its owner, and what is created without one is found."""
    deployment = deploy(collections=_names(1, 6), MONGO_WATCH_COLLECTIONS=_GLOBS)
    cluster = Cluster(deployment, folder=tmp_path)
    leader = cluster.leader()
    events = _write(deployment, _names(1, 3))
    wait_until(
        lambda: set(cluster.owners()) == set(_names(1, 3)),
        timeout_s=20,
        what="the collections to have owners",
    )
    assert len(set(cluster.owners().values())) == len(cluster.instances)
    cluster.kill(leader)
    events += _write(deployment, _names(4, 6))
    cluster.wait_working()
    kept = cluster.owners()
    deployment.finish(events)
    assert set(kept) == set(_names(1, 6))


@pytest.mark.soak
def test_a_dropped_collection_is_forgotten_by_hand(deploy: Deploy, tmp_path: Path) -> None:
    """Left out for a while, and without its token document, it is gone, and found if it is back."""
    deployment = deploy(collections=_names(1, 2), MONGO_WATCH_COLLECTIONS=_GLOBS)
    cluster = Cluster(deployment, folder=tmp_path)
    cluster.wait_whole()
    events = _write(deployment, _names(1, 2))
    deployment.db["orders_1"].drop()
    _wait_for_owned(cluster, _names(1, 2))
    _restart(cluster, f"{_GLOBS},!orders_1")
    _wait_for_owned(cluster, _names(2, 2))
    deployment.db[TOKENS].delete_one({"_id.collection": "orders_1"})
    passed = deployment.token_document("")
    wait_until(
        lambda: deployment.token_document("") != passed,
        timeout_s=30,
        what="discovery to be past the collection's changes",
    )
    _restart(cluster, _GLOBS)
    _wait_for_owned(cluster, _names(2, 2))
    assert deployment.token_document("orders_1") is None
    events += _write(deployment, _names(1, 1))
    deployment.finish(events)


def _restart(cluster: Cluster, entries: str) -> None:
    """Start all instances again, with other collections to watch."""
    for number in list(cluster.instances):
        cluster.stop(number)
    cluster.deployment.settings["MONGO_WATCH_COLLECTIONS"] = entries
    for number in range(SIZE):
        cluster.start(number)


def _wait_for_owned(cluster: Cluster, names: list[str]) -> None:
    """Wait until just these collections are captured, and the leader has looked for others."""

    def are_owned() -> bool:
        return set(cluster.owners()) == set(names) and not any(
            instance.reasons() for instance in cluster.instances.values()
        )

    wait_until(are_owned, timeout_s=60, what=f"{names} to have owners")


def test_check_looks_at_what_globs_take(deploy: Deploy) -> None:
    """`mnc check` judges the collections that exist and are wanted."""
    deployment = deploy(collections=_names(1, 1), MONGO_WATCH_COLLECTIONS=_GLOBS)
    _write(deployment, [*_names(1, 1), "audit_1"])
    assert (
        run_check(deployment.settings, "--json")
        .text("MongoDB", "collections")
        .startswith("orders_1 in ")
    )
