"""A TOML file's sections on real servers: what differs for some collections, and what doesn't."""

from __future__ import annotations

import json
from pathlib import Path

from tests.deployment import Deploy

_TOML = """
mongo_exclude_fields = ["ssn"]

[[collections]]
match = "orders_*"
mongo_watch_operations = ["insert", "delete", "drop"]
mongo_full_document_before_change = "whenAvailable"

[[collections]]
match = "movies"
mongo_full_document = "off"
nats_subject = "{stream}.{collection}.{operation}.all"
mongo_exclude_fields = ["price"]
mongo_mask_fields = ["ssn:hash"]
"""


def test_each_collection_is_captured_as_its_section_says(deploy: Deploy, tmp_path: Path) -> None:
    """Operations, documents and hidden fields differ by collection, also by found ones."""
    path = tmp_path / "mnc.toml"
    path.write_text(_TOML)
    deployment = deploy(
        collections=["users", "movies", "orders_1"],
        MONGO_WATCH_COLLECTIONS="users,movies,orders_*",
        MNC_CONFIG=str(path),
        MONGO_MASK_KEY="0123456789abcdef",
    )
    connector = deployment.start_ready()
    for name in deployment.collections:
        collection = deployment.db[name]
        collection.insert_one({"_id": 1, "seen": 0, "ssn": 7, "price": 9})
        collection.update_one({"_id": 1}, {"$set": {"seen": 1}})
        collection.delete_one({"_id": 1})
        collection.drop()
    report = deployment.oracle.report(timeout_s=0)
    assert connector.terminate() == 0
    found: dict[str, list[tuple[str, bool]]] = {}
    inserted = {}
    for message in deployment.oracle.messages():
        change = json.loads(message.payload)
        if change["operationType"] == "insert":
            inserted[change["ns"]["coll"]] = change["fullDocument"]
        found.setdefault(change["ns"]["coll"], []).append(
            (change["operationType"], "fullDocument" in change)
        )
    assert found == {
        "users": [("insert", True), ("update", True), ("delete", False)],
        "movies": [("insert", True), ("update", False), ("delete", False)],
        "orders_1": [("insert", True), ("delete", False), ("drop", False)],
    }, report
    everywhere = {"_id": 1, "seen": 0, "price": 9}
    assert inserted["users"] == inserted["orders_1"] == everywhere
    assert inserted["movies"].pop("ssn").startswith("hmac-sha256:")
    assert inserted["movies"] == {"_id": 1, "seen": 0}
    subjects = {message.subject for message in deployment.oracle.messages()}
    assert f"{deployment.stream}.movies.update.all" in subjects
    assert f"{deployment.stream}.users.update.1" in subjects
