"""Every event, every `_id` and every name through `mnc serve` on real servers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

from bson import (
    Binary,
    Code,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.json_util import RELAXED_JSON_OPTIONS, JSONOptions, loads
from tests.deployment import Deploy, Deployment
from tests.waiting import wait_until

from mnc.encode.document_id import decode_document_id
from mnc.encode.subject import decode_name
from mnc.model import Operation

_OPERATIONS = ",".join(get_args(Operation))

_DECODED: JSONOptions = RELAXED_JSON_OPTIONS.with_options(tz_aware=False)


def stored(deployment: Deployment, count: int) -> Sequence[tuple[str, dict[str, Any]]]:
    """Wait for `count` events; return their subjects, without the stream's name, and payloads."""
    wait_until(
        lambda: len(deployment.oracle.messages()) >= count, timeout_s=20, what=f"{count} events"
    )
    found = [
        (message.subject.removeprefix(f"{deployment.stream}."), json.loads(message.payload))
        for message in deployment.oracle.messages()
    ]
    assert len(found) == count
    return found


def of(found: Sequence[tuple[str, dict[str, Any]]], name: str) -> Sequence[str]:
    """Return what follows the collection's name in the subjects of its events."""
    return [subject.removeprefix(f"{name}.") for subject, _ in found if subject.startswith(name)]


def test_a_collections_life_arrives_in_its_order(deploy: Deploy) -> None:
    """On request everything that happens to a collection is published, whatever it happens to."""
    deployment = deploy(MONGO_WATCH_OPERATIONS=_OPERATIONS)
    deployment.start_ready()
    db, users = deployment.db, deployment.db["users"]
    db.create_collection("users")
    users.create_index("n", name="by_n")
    db.command("collMod", "users", validator={"n": 1})
    users.drop_index("by_n")
    users.insert_one({"_id": 1, "n": 1})
    users.rename("movies")
    db["movies"].rename("elsewhere")
    db["unwatched"].insert_one({"_id": 2})
    db["unwatched"].rename("users")
    users.drop()
    deployment.client.drop_database(deployment.database)
    found = stored(deployment, 14)
    assert of(found, "users") == [
        "create.k:null",
        "createIndexes.k:null",
        "modify.k:null",
        "dropIndexes.k:null",
        "insert.1",
        "rename.k:null",
        "rename.k:null",
        "drop.k:null",
        "dropDatabase.k:null",
        "invalidate.k:null",
    ]
    assert of(found, "movies") == [
        "rename.k:null",
        "rename.k:null",
        "dropDatabase.k:null",
        "invalidate.k:null",
    ]


_IDS: tuple[object, ...] = (
    1,
    Int64(2**40),
    1.5,
    float("-inf"),
    Decimal128("0.1"),
    Decimal128("1E+6000"),
    "text",
    "žluťoučký kůň. * > \t",
    "",
    "42",
    True,
    None,
    MinKey(),
    MaxKey(),
    ObjectId("65f0c0ffee65f0c0ffee65f0"),
    datetime(2024, 3, 1, 12, 30, tzinfo=UTC).replace(tzinfo=None),
    datetime(1815, 12, 10, tzinfo=UTC).replace(tzinfo=None),
    Timestamp(1700000000, 3),
    b"\x00\xff",
    Binary(b"any", 128),
    Binary(UUID("550e8400-e29b-41d4-a716-446655440000").bytes, 4),
    {"tenant": "acme", "keys": [1, {"a": None, "like": Regex("^a", "i")}]},
    Code("f()"),
    Code("f", {"n": 1}),
)
"""One of each type that MongoDB takes, and then some."""

_NAMES = (
    "with.dots.in.it",
    "with spaces",
    ">",
    "a>b",
    "tab\tnewline\nquote\"'",
    "percent%2E",
    "colon:h",
    "h:abc",
    "žluťoučký",
    "集合",
    "🦊",
    "a/b\\c",
    "A",
    "a",
    "n" * 200,
)


def test_every_id_arrives_from_a_collection_of_every_name(deploy: Deploy) -> None:
    """Whatever the name and the `_id`, the subject says them, and the payload has the key."""
    deployment = deploy(collections=_NAMES)
    deployment.start_ready()
    for name in _NAMES:
        deployment.db[name].insert_many({"_id": document_id} for document_id in _IDS)
        deployment.db[name].delete_many({})
    deployment.finish(2 * len(_NAMES) * len(_IDS))
    left = {(name, operation): list(_IDS) for name in _NAMES for operation in ("insert", "delete")}
    for subject, change in stored(deployment, 2 * len(_NAMES) * len(_IDS)):
        name, operation, part = subject.split(".")
        assert decode_name(name) == deployment.key(change["ns"]["coll"])
        document_id = decode_document_id(part)
        assert loads(json.dumps(change["documentKey"]["_id"]), json_options=_DECODED) == document_id
        left[change["ns"]["coll"], operation].remove(document_id)
    assert not any(left.values())
