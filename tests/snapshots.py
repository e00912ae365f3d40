"""The judge of snapshots: says whether a stream tells what its collections hold in the end.

It replays the stream's messages in their order, as a service that keeps a copy would, and compares
the copy with the collection. Nothing of mnc's own code takes part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bson import json_util
from pymongo.database import Database
from tests.jetstream import StoredMessage

__all__ = ["assert_end_state", "is_read", "reads_of"]

_OPTIONS = json_util.JSONOptions(json_mode=json_util.JSONMode.RELAXED, tz_aware=False)


def is_read(message: StoredMessage) -> bool:
    """Say whether a message is a document of a snapshot, and no change."""
    return message.subject.split(".")[2:3] == ["read"]


def reads_of(messages: Sequence[StoredMessage], collection: str) -> Counter[str]:
    """Return how often the snapshot of a collection stored each document, by its subject."""
    return Counter(
        message.subject
        for message in messages
        if is_read(message) and message.subject.split(".")[1] == collection
    )


def assert_end_state(
    messages: Sequence[StoredMessage], database: Database[dict[str, Any]], collection: str
) -> None:
    """Assert that whoever applies `messages` in order has exactly the collection's documents.

    Its documents must be small enough to stand in their messages.
    """
    copy = _replayed(messages, collection)
    true = {_key(document): document for document in database[collection].find()}
    missing, extra = true.keys() - copy.keys(), copy.keys() - true.keys()
    stale = [key for key in true.keys() & copy.keys() if true[key] != copy[key]]
    differing = [*missing, *stale, *extra]
    assert not differing, (
        f"{collection}: of {len(true)} documents {len(missing)} are missing, {len(stale)} stale, "
        f"and {len(extra)} are too many: {differing[:5]}"
    )


def _replayed(
    messages: Sequence[StoredMessage], collection: str
) -> Mapping[str, Mapping[str, Any]]:
    copy: dict[str, Mapping[str, Any]] = {}
    for message in messages:
        change = json_util.loads(message.payload, json_options=_OPTIONS)
        if change["ns"]["coll"] != collection:
            continue
        key = _key(change["documentKey"])
        document = change.get("fullDocument")
        if change["operationType"] == "delete":
            copy.pop(key, None)
        elif document is not None:  # None: deleted before an update was looked up
            copy[key] = document
    return copy


def _key(document: Mapping[str, Any]) -> str:
    return json_util.dumps(document["_id"], json_options=_OPTIONS)
