"""Pipelines of the settings on real servers: what they leave out, and what they don't disturb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.connector import ConnectorProcess
from tests.deployment import TOKENS, Deploy, Deployment
from tests.waiting import wait_until

_TOML = """
mongo_pipeline = '[{"$match": {"fullDocument.status": "paid"}}]'

[[collections]]
match = "movies"
mongo_pipeline = "[]"

[[collections]]
match = "orders_*"
mongo_pipeline = '''
[
  {"$match": {"operationType": {"$ne": "delete"}}},
  {"$unset": ["fullDocument.notes", "updateDescription.updatedFields.notes"]}
]'''

[[collections]]
match = "broken"
mongo_pipeline = '[{"$match": {"fullDocument.n": {"$foo": 1}}}]'
"""
_HEALTHY = ("users", "movies", "orders_1")


def _write(deployment: Deployment, number: int) -> None:
    for name in _HEALTHY:
        collection = deployment.db[name]
        collection.insert_one({"_id": number, "status": "paid", "notes": "x"})
        collection.update_one({"_id": number}, {"$set": {"notes": "y"}})
        collection.insert_one({"_id": -number, "status": "open"})
        collection.delete_one({"_id": -number})


def _stored(deployment: Deployment) -> Mapping[str, list[tuple[str, int, bool]]]:
    found: dict[str, list[tuple[str, int, bool]]] = {}
    for message in deployment.oracle.messages():
        change: dict[str, Any] = json.loads(message.payload)
        found.setdefault(change["ns"]["coll"], []).append(
            (
                change["operationType"],
                change["documentKey"]["_id"],
                "notes" in (change.get("fullDocument") or {}),
            )
        )
    return found


def _expected(*numbers: int) -> Mapping[str, list[tuple[str, int, bool]]]:
    rows: dict[str, list[tuple[str, int, bool]]] = {name: [] for name in _HEALTHY}
    for number in numbers:
        kept = [("insert", number, True), ("update", number, True)]
        rows["users"] += kept
        rows["movies"] += [*kept, ("insert", -number, False), ("delete", -number, False)]
        rows["orders_1"] += [(name, key, False) for name, key, _ in kept]
        rows["orders_1"] += [("insert", -number, False)]
    return rows


def _capturing(connector: ConnectorProcess) -> set[str]:
    return {
        it["collection"].partition(".")[2]
        for it in connector.collections()
        if it["state"] == "capturing"
    }


def test_each_collection_has_its_pipeline(deploy: Deploy, tmp_path: Path) -> None:
    """Events are chosen and changed by collection, also behind a kill; a refused one waits alone.

    What a pipeline leaves out isn't published by a snapshot either.
    """
    path = tmp_path / "mnc.toml"
    path.write_text(_TOML)
    deployment = deploy(collections=[*_HEALTHY, "broken"], MNC_CONFIG=str(path))
    connector = deployment.start()
    connector.wait_not_ready("unknown operator: $foo", timeout_s=20)
    assert "mongo_pipeline" in "".join(connector.reasons())
    wait_until(lambda: _capturing(connector) == set(_HEALTHY), timeout_s=20, what="the others")
    request = {"$set": {"snapshotRequestedAt": datetime.now(UTC)}}
    deployment.db[TOKENS].update_one({"_id.collection": "users"}, request)
    _write(deployment, 1)
    wait_until(lambda: _stored(deployment) == _expected(1), timeout_s=20, what="events")

    checked = deployment.run("check")
    assert checked.returncode == 1
    assert "unknown operator: $foo" in checked.stdout
    refused = deployment.run("snapshot", "users")
    assert refused.returncode == 2
    assert "MONGO_PIPELINE" in refused.stderr
    connector.wait_for_log("snapshot.refused")
    wait_until(lambda: _capturing(connector) == set(_HEALTHY), timeout_s=20, what="all again")
    assert "snapshotRequestedAt" not in (deployment.token_document("users") or {})

    connector.kill()
    _write(deployment, 2)
    connector = deployment.start()
    wait_until(lambda: _stored(deployment) == _expected(1, 2), timeout_s=20, what="the rest")
    assert connector.terminate() == 0


def test_a_snapshot_that_was_begun_does_not_go_on_beside_a_pipeline(deploy: Deploy) -> None:
    """The collection waits with the reason, and doesn't publish what may have to be left out."""
    deployment = deploy(collections=["users"])
    deployment.db["users"].insert_many([{"_id": number} for number in range(50)])
    slow = {"MONGO_SNAPSHOT": "initial", "MONGO_SNAPSHOT_DOCUMENTS_PER_S": "1"}
    connector = deployment.start(**slow)
    wait_until(deployment.oracle.everything, timeout_s=20, what="the first document")
    connector.kill()
    before = len(deployment.oracle.everything())
    connector = deployment.start(MONGO_PIPELINE='[{"$unset": "fullDocument.a"}]')
    connector.wait_not_ready("a snapshot was begun", timeout_s=20)
    assert len(deployment.oracle.everything()) == before
