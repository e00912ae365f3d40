"""What only a real MongoDB's change stream can show: its tokens, and documents of all kinds."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
import trio
from bson import Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from tests.contract.sources import MongoHarness, read_after, resume_exactly, token_of

from mnc.model import TOKEN_LIMIT

pytestmark = pytest.mark.usefixtures("deadline")

_LARGE = 9 * 1024 * 1024


async def _insert(mongo: MongoHarness, *documents: Any) -> None:
    await trio.to_thread.run_sync(mongo.database["users"].insert_many, documents)


@pytest.mark.parametrize(
    ("document_id", "has_type_bits"),
    [
        (2, False),
        (Int64(2), True),
        (2.0, True),
        (2.5, True),
        (float("nan"), True),
        (-0.0, True),
        (Decimal128("2"), True),
        (Decimal128("2.50"), True),
        (Decimal128("NaN"), True),
        (2**53 + 1, True),
        (1e300, True),
        ({"a": Int64(1), "b": [1.5, "x"]}, True),
        ("2", False),
    ],
    ids=repr,
)
async def test_any_number_as_an_id_resumes_exactly(
    mongo: MongoHarness, document_id: object, has_type_bits: bool
) -> None:
    """Where a key's number needs type bits in the token, resuming stays exact at every event."""
    start = await mongo.source.current_token()
    await _insert(mongo, {"_id": ObjectId()}, {"_id": document_id}, {"_id": ObjectId()})
    await trio.to_thread.run_sync(
        mongo.database["users"].update_one, {"_id": document_id}, {"$set": {"x": 1}}
    )
    found = await read_after(mongo.source, ["users"], start, count=4)
    assert [change["operationType"] for change in found] == ["insert"] * 3 + ["update"]
    assert (token_of(found[1]).type_bits is not None) == has_type_bits
    await resume_exactly(mongo.source, ["users"], found)


async def test_a_date_beyond_datetime_is_read(mongo: MongoHarness) -> None:
    """A date that Python's datetime can't hold stays as it is, and so do its neighbours."""
    start = await mongo.source.current_token()
    usual = datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    await _insert(
        mongo, {"at": usual}, {"at": DatetimeMS(2**62)}, {"at": DatetimeMS(-(2**62))}, {"at": usual}
    )
    found = await read_after(mongo.source, ["users"], start, count=4)
    documents = [change["fullDocument"] for change in found]
    assert [document["at"] for document in documents if isinstance(document, dict)] == [
        usual,
        DatetimeMS(2**62),
        DatetimeMS(-(2**62)),
        usual,
    ]


async def test_a_large_reply_is_hidden_from_the_collector(mongo: MongoHarness) -> None:
    """Python doesn't look for garbage among a large document's values while it is held."""
    start = await mongo.source.current_token()
    await _insert(mongo, {"text": "x" * _LARGE, "values": [[]] * 100_000})
    (change,) = await read_after(mongo.source, ["users"], start, count=1)
    document = change["fullDocument"]
    assert isinstance(document, dict)
    gc.collect()
    seen = {id(found) for found in gc.get_objects()}
    assert seen.isdisjoint(map(id, document["values"]))
    assert gc.isenabled()


async def test_text_that_is_no_utf8_is_read(mongo: MongoHarness) -> None:
    """A string of bytes that aren't UTF-8 is read with replacements; its neighbours are exact."""
    start = await mongo.source.current_token()
    spoilt = bson.encode({"_id": 2, "text": "aXXb"}).replace(b"XX", b"\xff\xfe")
    await _insert(mongo, {"_id": 1, "text": "ä"}, RawBSONDocument(spoilt), {"_id": 3, "text": "ö"})
    found = await read_after(mongo.source, ["users"], start, count=3)
    documents = [change["fullDocument"] for change in found]
    assert [document["text"] for document in documents if isinstance(document, dict)] == [
        "ä",
        "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b",
        "ö",
    ]


async def test_an_update_carries_the_document(mongo: MongoHarness) -> None:
    """An update's event has the document as it is, and none when it is gone already."""
    start = await mongo.source.current_token()
    users = mongo.database["users"]
    await _insert(mongo, {"_id": 1}, {"_id": 2})
    await trio.to_thread.run_sync(users.update_many, {}, {"$set": {"x": 1}})
    await trio.to_thread.run_sync(users.delete_one, {"_id": 2})
    found = await read_after(mongo.source, ["users"], start, count=5)
    updates = [change["fullDocument"] for change in found if change["operationType"] == "update"]
    assert updates == [{"_id": 1, "x": 1}, None]


async def test_an_id_of_any_length_has_a_token(mongo: MongoHarness) -> None:
    """A token is bounded, and resumes exactly however long the `_id` is that it began with."""
    start = await mongo.source.current_token()
    await _insert(mongo, {"_id": "a" * 100_000}, {"_id": 2})
    found = await read_after(mongo.source, ["users"], start, count=2)
    assert len(token_of(found[0]).data) == TOKEN_LIMIT + 1
    await resume_exactly(mongo.source, ["users"], found)
