"""The operations with which a connector reads its change stream, for administrators who kill."""

from __future__ import annotations

from typing import Any

from tests.deployment import Deployment
from tests.waiting import wait_until

__all__ = ["find_read", "kill_cursor", "kill_operation"]


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
