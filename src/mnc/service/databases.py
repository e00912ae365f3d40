"""Says at the start which of the databases to watch don't exist yet."""

from __future__ import annotations

import structlog
import trio

from mnc.config import Selections
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.databases import find_missing_databases
from mnc.errors import SourceError

__all__ = ["warn_of_missing_databases"]

_RETRY_S = 5.0


async def warn_of_missing_databases(mongo: MongoConnection, selections: Selections) -> None:
    """Log which databases of `selections` don't exist, but for that of MONGO_URI.

    Waits until MongoDB can be reached. What doesn't exist is watched from its first document on;
    but who writes `orders.archive` may mean a collection that has a dot in its name.

    Cancellation: nothing has changed.
    """
    log = structlog.get_logger()
    home = selections.home
    others = [name for name in selections.databases if name != home]
    while others:
        try:
            missing = await find_missing_databases(mongo, others)
        except SourceError:  # the lanes say what is wrong
            await trio.sleep(_RETRY_S)
            continue
        for database in missing:
            log.warning(
                "mongo.database_missing",
                database=database,
                remedy="what stands before the first dot in MONGO_WATCH_COLLECTIONS is a database; "
                f"a name of {home} with a dot in it is written {home}.{database}.NAME",
            )
        return
