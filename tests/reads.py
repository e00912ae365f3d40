"""The operations with which a connector reads, for administrators who kill and who count."""

from __future__ import annotations

from typing import Any

from tests.deployment import Deployment
from tests.waiting import wait_until

__all__ = ["count_documents_read", "find_read", "kill_cursor", "kill_operation", "note_queries"]


def find_read(deployment: Deployment) -> dict[str, Any]:
    """Find the operation that reads the connector's change stream; it is there most of the time."""

    def find() -> dict[str, Any] | None:
        wanted = {"appName": "mnc", "ns": f"{deployment.database}.$cmd", "op": "getmore"}
        operations = deployment.client.admin.aggregate(
            [{"$currentOp": {"allUsers": True}}, {"$match": wanted}]
        )
        return next(iter(operations), None)

    return wait_until(find, timeout_s=10, what="the connector to read") or {}


def kill_cursor(deployment: Deployment, operation: dict[str, Any]) -> None:
    """Kill the cursor that the operation reads."""
    cursor = operation["cursor"]["cursorId"]
    deployment.db.command({"killCursors": "$cmd.aggregate", "cursors": [cursor]})


def kill_operation(deployment: Deployment, operation: dict[str, Any]) -> None:
    """Kill the operation, and with it the cursor."""
    deployment.client.admin.command({"killOp": 1, "op": operation["opid"]})


def note_queries(deployment: Deployment) -> None:
    """Let MongoDB's profiler note the connectors' queries from now on, a megabyte of notes."""
    deployment.db.command("profile", 1, filter={"op": "query", "appName": "mnc"})


def count_documents_read(deployment: Deployment, collection: str) -> int:
    """Return how many documents of a collection the noted queries returned in all."""
    deployment.db.command("profile", 0)
    notes = deployment.db["system.profile"].find({"ns": f"{deployment.database}.{collection}"})
    return sum(note["nreturned"] for note in notes)
