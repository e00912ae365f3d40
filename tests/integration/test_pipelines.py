"""Pipelines of the settings on real servers: what they leave out, and what they don't disturb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.connector import ConnectorProcess
from tests.deployment import Deploy, Deployment
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
    for message in deployment.oracle.everything():
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
    rows = {
        "users": [("read", 1, True)],
        "movies": [("read", 1, True), ("read", 2, True)],
        "orders_1": [("read", 1, False), ("read", 2, False)],
    }
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
    """Documents and events are chosen and changed by collection, also behind a kill.

    A pipeline that MongoDB refuses makes its own collection wait, and no other.
    """
    path = tmp_path / "mnc.toml"
    path.write_text(_TOML)
    deployment = deploy(
        collections=[*_HEALTHY, "broken"], MNC_CONFIG=str(path), MONGO_SNAPSHOT="initial"
    )
    for name in _HEALTHY:
        deployment.db[name].insert_one({"_id": 1, "status": "paid", "notes": "x"})
        deployment.db[name].insert_one({"_id": 2, "status": "open", "notes": "x"})
    connector = deployment.start()
    connector.wait_not_ready("unknown operator: $foo", timeout_s=20)
    assert "mongo_pipeline" in "".join(connector.reasons())
    wait_until(lambda: _capturing(connector) == set(_HEALTHY), timeout_s=20, what="the others")
    _write(deployment, 3)
    wait_until(lambda: _stored(deployment) == _expected(3), timeout_s=20, what="events")

    checked = deployment.run("check")
    assert checked.returncode == 1
    assert "unknown operator: $foo" in checked.stdout

    connector.kill()
    _write(deployment, 4)
    connector = deployment.start()
    wait_until(lambda: _stored(deployment) == _expected(3, 4), timeout_s=20, what="the rest")
    assert connector.terminate() == 0
