"""Writing sample data to MongoDB a few times a second, so that there is something to see."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from typing import Any, assert_never

import structlog
import trio
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from mnc.embedded.samples import Change, Delete, Insert, Replace, SampleData, Update

__all__ = ["write_demo"]

_PAUSE_S = 0.25
_RETRY_S = 1.0
_TIMEOUT_MS = 2_000
_CLOSE_S = 2.0


async def write_demo(uri: str, *, collections: Collection[str], rng: random.Random) -> None:
    """Change sample documents a few times a second, for ever.

    `uri` names the database; `collections` are among SAMPLES. Failing writes are logged and tried
    again.

    Cancellation: the last write may have been made.
    """
    client = MongoClient[dict[str, Any]](uri, appname="mnc up --demo", timeoutMS=_TIMEOUT_MS)
    try:
        while True:
            try:
                await _write(client.get_default_database(), collections, rng)
            except PyMongoError as error:
                structlog.get_logger().warning("demo.failed", error=type(error).__name__)
                await trio.sleep(_RETRY_S)
    finally:
        with trio.move_on_after(_CLOSE_S, shield=True):  # unclosed, its threads would go on
            await trio.to_thread.run_sync(client.close)


async def _write(
    database: Database[dict[str, Any]], collections: Collection[str], rng: random.Random
) -> None:
    ids = await trio.to_thread.run_sync(_present, database, collections)
    data = SampleData(rng, ids)
    while True:
        change = data.next_change()
        inserted_id = await trio.to_thread.run_sync(_apply, database, change)
        if isinstance(change, Insert):
            data.added(change.collection, inserted_id)
        await trio.sleep(_PAUSE_S)


def _present(
    database: Database[dict[str, Any]], collections: Collection[str]
) -> Mapping[str, Collection[object]]:
    return {name: database[name].distinct("_id") for name in collections}


def _apply(database: Database[dict[str, Any]], change: Change) -> object:
    """Make a change; return the `_id` of a document that was inserted."""
    collection = database[change.collection]
    match change:
        case Insert():
            return collection.insert_one(dict(change.document)).inserted_id
        case Update():
            collection.update_one({"_id": change.document_id}, dict(change.operators))
        case Replace():
            collection.replace_one({"_id": change.document_id}, dict(change.document))
        case Delete():
            collection.delete_one({"_id": change.document_id})
        case _:
            assert_never(change)
    return None
