"""Says at the start which of the databases to watch don't exist yet."""

from __future__ import annotations

from collections.abc import Collection

import structlog
import trio

from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.databases import find_missing_databases
from mnc.errors import SourceError

__all__ = ["warn_of_missing_databases"]

_RETRY_S = 5.0


async def warn_of_missing_databases(mongo: MongoConnection, databases: Collection[str]) -> None:
    """Log which of `databases` don't exist, once MongoDB can be reached.

    They are waited for; but who writes `orders.archive` may mean a collection with a dot.

    Cancellation: nothing has changed.
    """
    log = structlog.get_logger()
    home = mongo.database.name
    while True:
        try:
            missing = await find_missing_databases(mongo, databases)
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
