"""Looks for requests for snapshots, and hands them to the supervisor."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from mnc.drivers.mongo.requests import MongoSnapshotRequests
from mnc.errors import CheckpointError

__all__ = ["watch_requests"]

_LOOK_S = 5.0
"""How often they are looked for: one small query for all collections."""


async def watch_requests(
    requests: MongoSnapshotRequests, take_snapshot: Callable[[str], None]
) -> None:
    """Call `take_snapshot` for each collection that has a request, again and again.

    Cancellation: nothing has changed.
    """
    log = structlog.get_logger()
    is_failing = False
    while True:
        await trio.sleep(_LOOK_S)
        try:
            pending = await requests.pending()
        except CheckpointError as error:
            if not is_failing:
                log.warning("snapshot.requests_unknown", kind=error.kind, error=str(error))
            is_failing = True
            continue
        is_failing = False
        for collection in pending:
            take_snapshot(collection)
