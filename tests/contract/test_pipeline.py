"""What a user's pipeline does to a real MongoDB's change stream, and what it leaves as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from tests.contract.sources import (
    MongoHarness,
    after_invalidate,
    opened,
    read_after,
    read_until_invalidated,
    resume_exactly,
    token_of,
)

from mnc.capture.options import CaptureOptions
from mnc.capture.ports import StartAt
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.connection import MongoConnection
from mnc.errors import PipelineRefusedError
from mnc.model import BeforeChange, FullDocument

pytestmark = pytest.mark.usefixtures("deadline")

_PAID = {"$match": {"fullDocument.status": "paid"}}
_LARGE = 9 * 1024 * 1024
"""Twice this is over MongoDB's limit of 16 MiB."""

Piped = Callable[..., MongoHarness]


@pytest.fixture
def piped(mongo: MongoHarness, mongo_connection: MongoConnection) -> Piped:
    """Give the driver with stages."""

    def make(
        *stages: object,
        full_document: FullDocument = "updateLookup",
        before_change: BeforeChange = "off",
    ) -> MongoHarness:
        options = CaptureOptions(
            pipeline=json.dumps(stages), full_document=full_document, before_change=before_change
        )
        source = MongoChangeSource(mongo_connection, options=options)
        return MongoHarness(source, client=mongo.client, database=mongo.database.name)

    return make


async def _write(mongo: MongoHarness, write: Callable[[Any], object]) -> None:
    await trio.to_thread.run_sync(write, mongo.database["users"])


async def test_a_filter_leaves_out_and_a_change_changes(piped: Piped) -> None:
    """Events that match come changed, in their order, and reading goes on exactly after each."""
    mongo = piped(
        _PAID, {"$unset": "fullDocument.secret"}, {"$set": {"fullDocument.from": "$ns.coll"}}
    )
    start = await mongo.source.current_token()

    def write(users: Any) -> None:
        for number in range(6):
            status = "paid" if number % 2 else "open"
            users.insert_one({"_id": number, "status": status, "secret": 1})
        users.delete_one({"_id": 1})

    await _write(mongo, write)
    found = await read_after(mongo.source, ["users"], start, count=3)
    assert [change["fullDocument"] for change in found] == [
        {"_id": number, "status": "paid", "from": "users"} for number in (1, 3, 5)
    ]
    await resume_exactly(mongo.source, ["users"], found)


async def test_images_say_which_documents_leave_a_filter(piped: Piped) -> None:
    """With the document before the change, an update that makes it leave passes, and a delete."""
    before = {"fullDocumentBeforeChange.status": "paid"}
    mongo = piped(
        {"$match": {"$or": [_PAID["$match"], before]}},
        full_document="whenAvailable",
        before_change="whenAvailable",
    )
    start = await mongo.source.current_token()

    def write(users: Any) -> None:
        users.database.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
        users.insert_many([{"_id": 1, "status": "paid"}, {"_id": 2, "status": "paid"}, {"_id": 3}])
        users.update_many({}, {"$set": {"status": "open"}})
        users.update_one({"_id": 2}, {"$set": {"status": "paid"}})
        users.delete_many({})

    await _write(mongo, write)
    found = await read_after(mongo.source, ["users"], start, count=6)
    keys = [(change["operationType"], change["documentKey"]) for change in found]
    assert keys == [
        ("insert", {"_id": 1}),
        ("insert", {"_id": 2}),
        ("update", {"_id": 1}),
        ("update", {"_id": 2}),
        ("update", {"_id": 2}),
        ("delete", {"_id": 2}),
    ]


async def test_the_position_moves_on_past_what_is_left_out(piped: Piped) -> None:
    """A collection of which nothing passes has no old position."""
    mongo = piped(_PAID)
    start = await mongo.source.current_token()
    await _write(mongo, lambda users: users.insert_many([{"n": n} for n in range(10)]))
    written = await read_after(piped().source, ["users"], start, count=10)
    async with opened(mongo.source, ["users"], StartAt(start.cluster_time)) as stream:
        while True:
            reply = await stream.next_reply(batch_size=2)
            assert not reply.events
            if reply.token.cluster_time >= token_of(written[-1]).cluster_time:
                break


async def test_a_filter_does_not_hide_the_end_of_the_stream(piped: Piped) -> None:
    """When the database is dropped, the stream is known to have ended, and goes on behind that."""
    mongo = piped(_PAID)
    start = await mongo.source.current_token()
    paid = {"status": "paid"}
    await _write(mongo, lambda users: users.insert_one({"_id": 1, **paid}))
    await mongo.drop_database()
    await _write(mongo, lambda users: users.insert_one({"_id": 2, **paid}))
    end = await read_until_invalidated(mongo.source, ["users"], StartAt(start.cluster_time))
    found = await read_after(
        mongo.source, ["users"], end.token, count=1, start=after_invalidate(end)
    )
    assert [change["documentKey"] for change in found] == [{"_id": 2}]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"$match": {"fullDocument.a": {"$foo": 1}}}, "unknown operator: $foo (BadValue)"),
        ({"$match": {"$jsonSchema": {"foo": 1}}}, "Unknown $jsonSchema keyword: foo (FailedTo"),
        ({"$set": {"fullDocument.a": {"$foo": 1}}}, "Unrecognized expression '$foo' (Invalid"),
        ({"$unset": "fullDocument..a"}, "FieldPath field names may not be empty"),
        ({"$set": {"fullDocument.a": {"$toInt": "x"}}}, "Failed to parse number 'x'"),
    ],
)
async def test_what_the_server_refuses_is_in_its_words(
    piped: Piped, stage: object, words: str
) -> None:
    """What mnc can't judge is said by the server at the opening, and the setting is named."""
    with pytest.raises(PipelineRefusedError) as caught:
        await piped(_PAID, stage).source.current_token()
    assert "MONGO_PIPELINE" in caught.value.message
    assert words in caught.value.message


async def test_an_event_at_which_it_fails_is_reported_behind_those_before(piped: Piped) -> None:
    """What comes before such an event is read, and the error shows nothing of its document."""
    mongo = piped({"$set": {"fullDocument.n": {"$toInt": "$fullDocument.n"}}})
    start = await mongo.source.current_token()
    values = ["1", "2", "a-secret", "4"]
    await _write(mongo, lambda users: users.insert_many([{"_id": n, "n": n} for n in values]))
    async with opened(mongo.source, ["users"], StartAt(start.cluster_time)) as stream:
        found: list[object] = []
        while len(found) < 2:
            reply = await stream.next_reply(batch_size=100)
            found += [change["documentKey"] for change in reply.events]
        assert found == [{"_id": "1"}, {"_id": "2"}]
        with pytest.raises(PipelineRefusedError) as caught:
            await stream.next_reply(batch_size=100)
    assert "ConversionFailure" in caught.value.message
    assert "a-secret" not in str(caught.value)


async def test_a_large_event_is_found_behind_one_that_no_longer_matches(piped: Piped) -> None:
    """Where reading goes on after an event whose look-up has changed, its position isn't lost."""
    mongo = piped(_PAID)
    start = await mongo.source.current_token()

    def write(users: Any) -> None:
        users.insert_many([{"_id": 1}, {"_id": 2, "status": "paid", "text": "a" * _LARGE}])
        users.update_one({"_id": 1}, {"$set": {"status": "paid"}})

    def write_more(users: Any) -> None:
        users.update_one({"_id": 1}, {"$set": {"status": "open"}})
        users.update_one({"_id": 2}, {"$set": {"text": "b" * _LARGE}})
        users.insert_one({"_id": 3, "status": "paid"})

    await _write(mongo, write)
    found: list[tuple[object, object]] = []
    async with opened(mongo.source, ["users"], StartAt(start.cluster_time)) as stream:
        while len(found) < 4:
            # So that the last token is that of the update, which doesn't pass any more.
            reply = await stream.next_reply(batch_size=1 if len(found) < 2 else 100)
            found += [(c["documentKey"], c.get("truncated")) for c in reply.events]
            if len(found) == 2 and reply.events:
                await _write(mongo, write_more)
    assert found == [
        ({"_id": 2}, None),
        ({"_id": 1}, None),
        ({"_id": 2}, ["fullDocument"]),
        ({"_id": 3}, None),
    ]
