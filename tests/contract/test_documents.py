"""What a snapshot relies on of a collection's documents, fake or real."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import bson
import pytest
import trio
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collation import Collation
from tests.contract.sources import FakeSourceHarness, MongoHarness, SourceHarness
from tests.fakes.documents import FakeDocuments

from mnc.capture.ports import Document, DocumentSource
from mnc.config import NO_PIPELINE
from mnc.drivers.mongo.connection import MongoConnection
from mnc.drivers.mongo.documents import MongoDocuments
from mnc.errors import PipelineRefusedError, SourceRefusedError, SourceUnavailableError
from mnc.model import ClusterTime, Namespace

pytestmark = pytest.mark.usefixtures("deadline")

_EVERY_TYPE: Sequence[object] = (
    *(None, True, False, 0, 1, 2.5, -7, float("nan"), float("inf"), float("-inf")),
    *(Int64(2**40), Decimal128("3.5"), Decimal128("-1E+20"), "", "a", "b", "ž", "x" * 5000),
    *({}, {"a": 1}, {"a": {"b": 2}}, {"a": [1, {"c": None}]}, {"$ref": "users", "$id": 1}),
    *(b"", b"yy", Binary(b"xx", 5), Binary(b"0123456789abcdef", 4), ObjectId(), ObjectId()),
    *(datetime(2020, 1, 1), Timestamp(1, 2), MinKey(), MaxKey(), Code("x")),  # noqa: DTZ001 - bson
    Code("x", {"a": 1}),
)
_RAW_IDS = (
    b"\x02_id\x00\x03\x00\x00\x00\xff\xfe\x00",  # a string that isn't UTF-8
    b"\x0e_id\x00\x03\x00\x00\x00zz\x00",  # a symbol
    b"\x0c_id\x00\x02\x00\x00\x00u\x00" + b"\x07" * 12,  # a DBPointer
)


def _raw(elements: bytes) -> RawBSONDocument:
    return RawBSONDocument((len(elements) + 5).to_bytes(4, "little") + elements + b"\x00")


_ANY = '[{"$match": {}}]'
"""A pipeline that lets all pass."""

_LARGE = 9 * 1024 * 1024
"""Twice this is more than a reply holds."""


@pytest.fixture
def documents(mongo_connection: MongoConnection) -> MongoDocuments:
    """Give the driver."""
    return MongoDocuments(mongo_connection)


def _now(client: MongoClient[dict[str, Any]]) -> ClusterTime:
    now: Timestamp = client.admin.command("ping")["operationTime"]
    return ClusterTime(now.time, now.inc)


def _open_cursors(client: MongoClient[dict[str, Any]]) -> int:
    status = client.admin.command("serverStatus")
    return int(status["metrics"]["cursor"]["open"]["total"])


def _ids(documents: Iterable[Document]) -> list[object]:
    """Return the ids of the documents that aren't left out."""
    keys = [document.change["documentKey"] for document in documents if document.change]
    return [key["_id"] for key in keys if isinstance(key, dict)]


async def _read_all(
    source: DocumentSource,
    namespace: Namespace,
    *,
    since: ClusterTime,
    limit: int,
    pipeline: str = NO_PIPELINE,
) -> Sequence[Document]:
    found: list[Document] = []
    while True:
        after = found[-1].key if found else ""
        chunk = await source.read(
            namespace, after=after, since=since, limit=limit, pipeline=pipeline
        )
        assert len(chunk.documents) <= limit
        if not chunk.documents:
            return found
        found += chunk.documents


async def test_each_document_is_read_once_in_order(
    changes: SourceHarness, documents: MongoDocuments
) -> None:
    """Chunk by chunk, and from any document on; what was committed before `since` is there."""
    source: DocumentSource = documents
    if isinstance(changes, FakeSourceHarness):
        source = FakeDocuments(changes.source)
    for number in (5, 3, 9, 1, 7):
        await changes.insert("users", number)
    since = (await changes.source.current_token()).cluster_time
    await changes.insert("movies", 1)  # which moves the clock past `since`
    database = changes.database.name if isinstance(changes, MongoHarness) else "test"
    namespace = Namespace(database=database, collection="users")
    assert await source.estimate(namespace) == 5
    for limit in (1, 2, 5, 9):
        found = await _read_all(source, namespace, since=since, limit=limit)
        assert _ids(found) == [1, 3, 5, 7, 9]
    rest = await source.read(
        namespace, after=found[1].key, since=since, limit=9, pipeline=NO_PIPELINE
    )
    assert _ids(rest.documents) == [5, 7, 9]


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("locale", [None, "cs"])
@pytest.mark.parametrize("pipeline", [NO_PIPELINE, _ANY], ids=["whole", "piped"])
async def test_ids_of_every_type_are_gone_on_after(
    documents: MongoDocuments,
    mongo_client: MongoClient[dict[str, Any]],
    database: str,
    *,
    locale: str | None,
    limit: int,
    pipeline: str,
) -> None:
    """MongoDB's own order of types and texts decides, whatever Python makes of an `_id`."""
    namespace = Namespace(database=database, collection="users")
    collation = None if locale is None else Collation(locale, strength=2)
    collection = mongo_client[database].create_collection("users", collation=collation)
    collection.insert_many({"_id": document_id} for document_id in _EVERY_TYPE)
    raw_ids = _RAW_IDS if locale is None else ()  # a collation refuses two of them
    for elements in raw_ids:
        mongo_client[database].command("insert", "users", documents=[_raw(elements)])
    since = _now(mongo_client)
    whole = await documents.read(namespace, after="", since=since, limit=1000, pipeline=NO_PIPELINE)
    assert len(whole.documents) == len(_EVERY_TYPE) + len(raw_ids)
    found = await _read_all(documents, namespace, since=since, limit=limit, pipeline=pipeline)
    assert [document.key for document in found] == [document.key for document in whole.documents]
    assert all(document.change for document in found)
    keys = {bytes(base64.b64decode(document.key)) for document in found}
    assert {bson.encode({"_id": document_id}) for document_id in _EVERY_TYPE} <= keys
    assert {bytes(_raw(elements).raw) for elements in raw_ids} <= keys


@pytest.mark.parametrize("pipeline", [NO_PIPELINE, _ANY], ids=["whole", "piped"])
async def test_a_chunk_is_read_from_the_index(
    documents: MongoDocuments,
    mongo_client: MongoClient[dict[str, Any]],
    database: str,
    pipeline: str,
) -> None:
    """The server looks at what it returns and no more, wherever in the collection that is."""
    namespace = Namespace(database=database, collection="users")
    mongo_client[database]["users"].insert_many({"_id": number} for number in range(3000))
    chunk = await documents.read(
        namespace, after="", since=_now(mongo_client), limit=2900, pipeline=NO_PIPELINE
    )
    mongo_client[database].command("profile", 2)
    await documents.read(
        namespace,
        after=chunk.documents[-1].key,
        since=_now(mongo_client),
        limit=9,
        pipeline=pipeline,
    )
    mongo_client[database].command("profile", 0)
    profile = mongo_client[database]["system.profile"]
    commands = list(profile.find({"ns": f"{database}.users", "op": {"$in": ["query", "command"]}}))
    assert len(commands) == (1 if pipeline == NO_PIPELINE else 2)
    for found in commands:
        assert found["nreturned"] == 9
        assert found["keysExamined"] <= 10
        assert found["docsExamined"] <= 10


@pytest.mark.parametrize("limit", [1, 4, 100])
async def test_documents_go_through_a_pipeline(
    documents: MongoDocuments, mongo_client: MongoClient[dict[str, Any]], database: str, limit: int
) -> None:
    """They are chosen and changed as their events are, and it is known which are left out."""
    namespace, users = (
        Namespace(database=database, collection="users"),
        mongo_client[database].users,
    )
    users.insert_many({"_id": n, "is_even": n % 2 == 0, "notes": "x"} for n in range(20))
    pipeline = """[
        {"$match": {"operationType": "read", "ns.coll": "users", "fullDocument.is_even": true}},
        {"$unset": ["fullDocument._id", "fullDocument.notes"]}
    ]"""
    found = await _read_all(
        documents, namespace, since=_now(mongo_client), limit=limit, pipeline=pipeline
    )
    assert len(found) == 20
    assert [bool(document.change) for document in found] == [True, False] * 10
    assert _ids(found) == list(range(0, 20, 2))
    assert found[0].change == {
        "operationType": "read",
        "ns": {"db": database, "coll": "users"},
        "documentKey": {"_id": 0},
        "fullDocument": {"is_even": True},
    }


async def test_more_than_a_reply_holds_comes_in_several(
    documents: MongoDocuments, mongo_client: MongoClient[dict[str, Any]], database: str
) -> None:
    """What doesn't fit any more isn't taken for left out, and leaves no cursor behind."""
    namespace, users = (
        Namespace(database=database, collection="users"),
        mongo_client[database].users,
    )
    before = _open_cursors(mongo_client)
    for number in range(3):
        users.insert_one({"_id": number, "text": "x" * _LARGE})
    found = await _read_all(documents, namespace, since=_now(mongo_client), limit=9, pipeline=_ANY)
    assert _ids(found) == [0, 1, 2]
    assert _open_cursors(mongo_client) == before


async def test_what_is_written_meanwhile_disturbs_no_chunk(
    documents: MongoDocuments, mongo_client: MongoClient[dict[str, Any]], database: str
) -> None:
    """Between a chunk's two queries documents come and go; the others are read once, in order."""
    namespace, users = (
        Namespace(database=database, collection="users"),
        mongo_client[database].users,
    )
    users.insert_many({"_id": number, "is_kept": number % 3 > 0} for number in range(0, 600, 2))
    since, rng, is_read = _now(mongo_client), random.Random(5), trio.Event()

    def write() -> None:
        while not is_read.is_set():
            number = rng.randrange(1, 600, 2)
            if not users.delete_one({"_id": number}).deleted_count:
                users.insert_one({"_id": number, "is_kept": True})

    kept = [number for number in range(0, 600, 2) if number % 3]
    pipeline = '[{"$match": {"fullDocument.is_kept": true}}]'
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, write)
        try:
            found = await _read_all(documents, namespace, since=since, limit=7, pipeline=pipeline)
        finally:
            is_read.set()
    ids = [number for number in _ids(found) if isinstance(number, int)]
    assert [number for number in ids if number % 2 == 0] == kept
    assert ids == sorted(set(ids))


async def test_a_document_at_which_a_pipeline_fails_is_an_error(
    documents: MongoDocuments, mongo_client: MongoClient[dict[str, Any]], database: str
) -> None:
    """Nothing is passed over, and nothing of it is shown."""
    mongo_client[database]["users"].insert_one({"n": "a-secret"})
    namespace = Namespace(database=database, collection="users")
    pipeline = '[{"$set": {"fullDocument.n": {"$toInt": "$fullDocument.n"}}}]'
    with pytest.raises(PipelineRefusedError) as caught:
        await documents.read(
            namespace, after="", since=_now(mongo_client), limit=9, pipeline=pipeline
        )
    assert "a-secret" not in str(caught.value)


async def test_an_id_that_no_position_can_hold_is_refused(
    documents: MongoDocuments, mongo_client: MongoClient[dict[str, Any]], database: str
) -> None:
    """It is an error that says why, and no position that the stream would refuse."""
    mongo_client[database]["users"].insert_one({"_id": "x" * 100_000})
    namespace = Namespace(database=database, collection="users")
    with pytest.raises(SourceRefusedError) as caught:
        await documents.read(
            namespace, after="", since=_now(mongo_client), limit=9, pipeline=NO_PIPELINE
        )
    assert "100" in str(caught.value)
    assert "xx" not in str(caught.value)


async def test_a_time_that_is_to_come_is_waited_for(
    documents: MongoDocuments, mongo_client: MongoClient[dict[str, Any]], database: str
) -> None:
    """Documents from before `since` could be missing: it is tried again."""
    now = _now(mongo_client)
    namespace = Namespace(database=database, collection="users")
    with pytest.raises(SourceUnavailableError):
        await documents.read(
            namespace,
            after="",
            since=ClusterTime(now.seconds + 60, 1),
            limit=9,
            pipeline=NO_PIPELINE,
        )


async def test_a_cancelled_chunk_can_be_read_again(
    documents: MongoDocuments, mongo_client: MongoClient[dict[str, Any]], database: str
) -> None:
    """Nothing is kept between two chunks, on either side."""
    mongo_client[database]["users"].insert_one({"_id": 1})
    namespace, since = Namespace(database=database, collection="users"), _now(mongo_client)
    with trio.move_on_after(0):
        await documents.read(namespace, after="", since=since, limit=9, pipeline=NO_PIPELINE)
    chunk = await documents.read(namespace, after="", since=since, limit=9, pipeline=NO_PIPELINE)
    assert _ids(chunk.documents) == [1]
