"""Which databases exist, as far as the user in MONGO_URI may know."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.failures import source_error

__all__ = ["find_missing_databases", "missing_databases"]


async def find_missing_databases(
    connection: MongoConnection, databases: Collection[str]
) -> Sequence[str]:
    """Return what `missing_databases` does. Raises SourceError.

    Cancellation: nothing has changed.
    """
    try:
        return await connection.run(missing_databases, connection.client, databases)
    except PyMongoError as error:
        raise source_error(error) from error


def missing_databases(
    client: pymongo.MongoClient[dict[str, Any]], databases: Collection[str]
) -> Sequence[str]:
    """Return those of `databases` that don't exist; none when MongoDB doesn't tell this user.

    Blocking. Raises PyMongoError.
    """
    wanted = {"name": {"$in": list(databases)}}
    try:
        found = client.list_databases(filter=wanted, nameOnly=True, authorizedDatabases=True)
    except OperationFailure:
        return ()
    existing = {each["name"] for each in found}
    return [name for name in databases if name not in existing]
