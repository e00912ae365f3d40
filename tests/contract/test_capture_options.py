"""What events there are, and what they hold, as the options say, on a real MongoDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trio
from tests.contract.sources import MongoHarness, read_after, token_of

from mnc.capture.options import CaptureOptions
from mnc.drivers.mongo.changes import MongoChangeSource
from mnc.drivers.mongo.connection import MongoConnection
from mnc.errors import ImageMissingError
from mnc.model import BeforeChange, FullDocument

pytestmark = pytest.mark.usefixtures("deadline")

_ABSENT = "absent"

MongoWith = Callable[[CaptureOptions], MongoHarness]


@pytest.fixture
def mongo_with(mongo: MongoHarness, mongo_connection: MongoConnection) -> MongoWith:
    """Give the driver with other options."""

    def make(options: CaptureOptions) -> MongoHarness:
        source = MongoChangeSource(mongo_connection, options=options)
        return MongoHarness(source, client=mongo.client, database=mongo.database.name)

    return make


async def _changes(mongo: MongoHarness, *, images: bool) -> Mapping[str, Mapping[str, Any]]:
    """Return the events of a document that is gone at the end, by their operation."""

    def write() -> None:
        database = mongo.database
        database.create_collection("users", changeStreamPreAndPostImages={"enabled": images})
        users = database["users"]
        users.insert_one({"_id": 1, "n": 0})
        users.update_one({"_id": 1}, {"$set": {"n": 1}})
        users.replace_one({"_id": 1}, {"n": 2})
        users.delete_one({"_id": 1})

    start = await mongo.source.current_token()
    await trio.to_thread.run_sync(write)
    found = await read_after(mongo.source, ["users"], start, count=4)
    return {str(change["operationType"]): change for change in found}


@pytest.mark.parametrize(
    ("mode", "images", "expected"),
    [
        ("off", True, _ABSENT),
        ("updateLookup", True, None),
        ("whenAvailable", True, {"_id": 1, "n": 1}),
        ("whenAvailable", False, None),
        ("required", True, {"_id": 1, "n": 1}),
    ],
)
async def test_an_update_has_the_document_that_the_mode_says(
    mongo_with: MongoWith, mode: FullDocument, images: bool, expected: object
) -> None:
    """Of a document that is gone, a look-up finds nothing, and an image still says what it was."""
    mongo = mongo_with(CaptureOptions(full_document=mode))
    changes = await _changes(mongo, images=images)
    assert changes["update"].get("fullDocument", _ABSENT) == expected
    assert changes["update"]["updateDescription"]["updatedFields"] == {"n": 1}
    assert changes["insert"]["fullDocument"] == {"_id": 1, "n": 0}
    assert changes["replace"]["fullDocument"] == {"_id": 1, "n": 2}
    assert changes["delete"].get("fullDocument") is None
    for change in changes.values():
        assert change["documentKey"] == {"_id": 1}
        assert "fullDocumentBeforeChange" not in change


@pytest.mark.parametrize(
    ("mode", "images", "expected"),
    [
        ("off", True, [_ABSENT, _ABSENT, _ABSENT]),
        ("whenAvailable", True, [{"_id": 1, "n": n} for n in range(3)]),
        ("whenAvailable", False, [None, None, None]),
        ("required", True, [{"_id": 1, "n": n} for n in range(3)]),
    ],
)
async def test_a_change_has_the_document_before_it(
    mongo_with: MongoWith, mode: BeforeChange, images: bool, expected: list[object]
) -> None:
    """Updates, replacements and deletions say what was there before, where MongoDB keeps it."""
    mongo = mongo_with(CaptureOptions(before_change=mode))
    changes = await _changes(mongo, images=images)
    before = [
        changes[operation].get("fullDocumentBeforeChange", _ABSENT)
        for operation in ("update", "replace", "delete")
    ]
    assert before == expected
    assert "fullDocumentBeforeChange" not in changes["insert"]


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        (CaptureOptions(full_document="required"), "MONGO_FULL_DOCUMENT=required"),
        (CaptureOptions(before_change="required"), "MONGO_FULL_DOCUMENT_BEFORE_CHANGE=required"),
    ],
)
async def test_a_required_image_that_is_missing_is_named(
    mongo_with: MongoWith, options: CaptureOptions, setting: str
) -> None:
    """Who requires images hears which setting does, and how MongoDB is made to keep them."""
    with pytest.raises(ImageMissingError) as raised:
        await _changes(mongo_with(options), images=False)
    assert setting in raised.value.message
    assert "changeStreamPreAndPostImages: {enabled: true}" in raised.value.remedy


async def test_images_of_other_collections_are_not_required(mongo_with: MongoWith) -> None:
    """A collection that isn't watched needs no images, whatever those that are require."""
    mongo = mongo_with(CaptureOptions(full_document="required", before_change="required"))
    start = await mongo.source.current_token()

    def write() -> None:
        images = {"enabled": True}
        mongo.database.create_collection("users", changeStreamPreAndPostImages=images)
        for name in ("strangers", "users"):
            mongo.database[name].insert_one({"_id": 1})
            mongo.database[name].update_one({"_id": 1}, {"$set": {"n": 1}})
            mongo.database[name].delete_one({"_id": 1})

    await trio.to_thread.run_sync(write)
    found = await read_after(mongo.source, ["users"], start, count=3)
    assert [change["operationType"] for change in found] == ["insert", "update", "delete"]


@pytest.mark.parametrize("expanded", [False, True])
async def test_expanded_events_come_on_request(mongo_with: MongoWith, expanded: bool) -> None:
    """Without them, no event has the fields that come along; the tokens are the same."""
    mongo = mongo_with(CaptureOptions(expanded_events=expanded))
    start = await mongo.source.current_token()

    def write() -> None:
        users = mongo.database["users"]
        users.insert_one({"_id": 1})
        users.create_index("n")
        users.drop()

    await trio.to_thread.run_sync(write)
    found = await read_after(mongo.source, ["users"], start, count=4 if expanded else 2)
    operations = [change["operationType"] for change in found]
    ddl = ["create", "insert", "createIndexes", "drop"]
    assert operations == (ddl if expanded else ["insert", "drop"])
    assert all(("collectionUUID" in change) == expanded for change in found)
    plain = await read_after(mongo_with(CaptureOptions()).source, ["users"], start, count=2)
    assert {token_of(change) for change in plain} <= {token_of(change) for change in found}


async def test_a_change_stream_is_of_its_database_alone(mongo_with: MongoWith) -> None:
    """What another database has under the same name isn't shown, and that it's dropped neither."""
    mongo = mongo_with(CaptureOptions())
    name = f"{mongo.database.name}_crm"
    other = mongo_with(CaptureOptions(database=name))
    start = await other.source.current_token()

    def write() -> None:
        for database in (mongo.client[name], mongo.database):
            for collection in ("users", "a.b", "movies"):
                database[collection].insert_one({"_id": database.name})
        mongo.client.drop_database(mongo.database)
        mongo.client[name]["users"].insert_one({"_id": "last"})

    await trio.to_thread.run_sync(write)
    keys = [f"{name}.users", f"{name}.a.b"]
    found = await read_after(other.source, keys, start, count=3)
    assert [change["ns"] for change in found] == [
        {"db": name, "coll": collection} for collection in ("users", "a.b", "users")
    ]
    await trio.to_thread.run_sync(mongo.client.drop_database, name)
