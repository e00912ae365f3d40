"""Events that MongoDB can't return as they are, on a real one that can't split them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from tests.contract.sources import MongoHarness, read_after, token_of

from mnc.capture.options import CaptureOptions
from mnc.capture.ports import ChangeDocument
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.connection import MongoConnection
from mnc.errors import EventTooLargeError, ImageMissingError

pytestmark = pytest.mark.usefixtures("deadline")

_LARGE = 9 * 1024 * 1024
"""Twice this is over MongoDB's limit of 16 MiB."""

_THIRD = 6 * 1024 * 1024
"""Three times this is over the limit, and twice is not."""

_KEY = 5 * 1024 * 1024
"""A key that makes a token of twice its size."""


async def _write(mongo: MongoHarness, write: Callable[[Any], object]) -> None:
    await trio.to_thread.run_sync(write, mongo.database["users"])


def _with(
    connection: MongoConnection, mongo: MongoHarness, options: CaptureOptions
) -> MongoHarness:
    source = MongoChangeSource(connection, options=options)
    return MongoHarness(source, client=mongo.client, database=mongo.database.name)


def _sketch(change: ChangeDocument) -> tuple[object, object, object]:
    return change["operationType"], change["documentKey"], change.get("truncated")


async def test_an_event_over_the_limit_comes_without_what_makes_it_large(
    mongo: MongoHarness, mongo_connection: MongoConnection
) -> None:
    """What surrounds it is whole, and it keeps its place, its token and what is left of it."""
    start = await mongo.source.current_token()

    def write(users: Any) -> None:
        users.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 3, "large": "a" * _LARGE}])
        users.update_one({"_id": 3}, {"$set": {"large": "b" * _LARGE}})
        users.update_one({"_id": 1}, {"$set": {"n": 1}})
        users.update_one({"_id": 3}, {"$set": {"large": "c" * _LARGE}})
        users.insert_one({"_id": 4})

    await _write(mongo, write)
    found = await read_after(mongo.source, ["users"], start, count=7)
    assert [_sketch(change) for change in found] == [
        ("insert", {"_id": 1}, None),
        ("insert", {"_id": 2}, None),
        ("insert", {"_id": 3}, None),
        ("update", {"_id": 3}, ["fullDocument"]),
        ("update", {"_id": 1}, None),
        ("update", {"_id": 3}, ["fullDocument"]),
        ("insert", {"_id": 4}, None),
    ]
    description = found[3]["updateDescription"]
    assert isinstance(description, dict)
    assert description["updatedFields"] == {"large": "b" * _LARGE}
    assert "fullDocument" not in found[3]
    small = _with(mongo_connection, mongo, CaptureOptions(full_document="off"))
    again = await read_after(small.source, ["users"], start, count=7)
    assert [token_of(change) for change in found] == [token_of(change) for change in again]
    rest = await read_after(mongo.source, ["users"], token_of(found[3]), count=3)
    assert [_sketch(change) for change in rest] == [_sketch(change) for change in found[4:]]


async def test_no_more_is_left_out_than_has_to_be(
    mongo: MongoHarness, mongo_connection: MongoConnection
) -> None:
    """The document before the change goes first, and the others stay when that is enough."""
    mongo = _with(mongo_connection, mongo, CaptureOptions(before_change="whenAvailable"))
    start = await mongo.source.current_token()
    images = {"enabled": True}
    await trio.to_thread.run_sync(
        lambda: mongo.database.create_collection("users", changeStreamPreAndPostImages=images)
    )

    def write(users: Any) -> None:
        users.insert_one({"_id": 1, "large": "a" * _THIRD})
        users.replace_one({"_id": 1}, {"large": "b" * _THIRD})
        users.update_one({"_id": 1}, {"$set": {"large": "c" * _THIRD}})

    await _write(mongo, write)
    _, replaced, updated = await read_after(mongo.source, ["users"], start, count=3)
    assert replaced["fullDocumentBeforeChange"] == {"_id": 1, "large": "a" * _THIRD}
    assert "truncated" not in replaced
    assert updated["fullDocument"] == {"_id": 1, "large": "c" * _THIRD}
    assert updated["truncated"] == ["fullDocumentBeforeChange"]


async def test_what_a_pipeline_has_left_out_is_not_named(
    mongo: MongoHarness, mongo_connection: MongoConnection
) -> None:
    """Only what was left out for its size is said to be."""
    pipeline = '[{"$unset": "fullDocumentBeforeChange"}]'
    options = CaptureOptions(before_change="whenAvailable", pipeline=pipeline)
    mongo = _with(mongo_connection, mongo, options)
    start = await mongo.source.current_token()

    def write(users: Any) -> None:
        users.insert_one({"_id": 1, "large": "a" * _LARGE})
        users.update_one({"_id": 1}, {"$set": {"large": "b" * _LARGE}})

    await _write(mongo, write)
    _, updated = await read_after(mongo.source, ["users"], start, count=2)
    assert updated["truncated"] == ["fullDocument"]


async def test_the_first_event_after_the_start_may_be_too_large(mongo: MongoHarness) -> None:
    """A stream that has returned nothing yet finds its place again, too."""
    start = await mongo.source.current_token()

    def write(users: Any) -> None:
        users.insert_one({"_id": 1, "large": "a" * _LARGE})
        users.update_one({"_id": 1}, {"$set": {"large": "b" * _LARGE}})

    await _write(mongo, write)
    inserted, updated = await read_after(mongo.source, ["users"], start, count=2)
    rest = await read_after(mongo.source, ["users"], token_of(inserted), count=1, batch_size=1)
    assert [_sketch(change) for change in rest] == [_sketch(updated)]


async def test_an_event_whose_key_is_too_large_is_named(mongo: MongoHarness) -> None:
    """What can't be had at all is an error, after everything that came before it."""
    start = await mongo.source.current_token()
    await _write(mongo, lambda users: users.insert_many([{"_id": 1}, {"_id": "a" * _KEY}]))
    found = await read_after(mongo.source, ["users"], start, count=1)
    assert [change["documentKey"] for change in found] == [{"_id": 1}]
    with pytest.raises(EventTooLargeError):
        await read_after(mongo.source, ["users"], token_of(found[0]), count=1)


async def test_what_came_before_a_missing_image_is_read(
    mongo: MongoHarness, mongo_connection: MongoConnection
) -> None:
    """Where an image is required and missing, everything up to there comes first."""
    mongo = _with(mongo_connection, mongo, CaptureOptions(full_document="required"))
    start = await mongo.source.current_token()

    def write() -> None:
        users = mongo.database["users"]
        users.insert_many([{"_id": n} for n in range(5)])
        users.update_one({"_id": 1}, {"$set": {"n": 1}})
        users.insert_one({"_id": 5})

    await trio.to_thread.run_sync(write)
    found = await read_after(mongo.source, ["users"], start, count=5)
    assert [change["documentKey"] for change in found] == [{"_id": n} for n in range(5)]
    with pytest.raises(ImageMissingError):
        await read_after(mongo.source, ["users"], token_of(found[-1]), count=1)
