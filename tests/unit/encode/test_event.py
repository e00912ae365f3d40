"""Events: from a decoded change event to the message that the stream stores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

import bson
import pytest
from bson import Code, Int64, ObjectId, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.encode.bson_values import DECODED_LIKE_CAPTURE, values

from mnc.encode.event import Encoder, EventUnencodableError
from mnc.encode.subject import SubjectForm
from mnc.errors import Recovery, SinkError
from mnc.model import DOCUMENT_OPERATIONS, TOKEN_LIMIT, EncodedEvent, Operation, ResumeToken

DATA = "8265F0C0FF000000012B022C0100296E5A1004"
ID = ObjectId("65f0c0ffee65f0c0ffee65f0")
WALL_TIME = datetime(2024, 3, 1, 12, 30, 0, 250_000)  # noqa: DTZ001 - as BSON decodes it
ENCODER = Encoder(stream="cs")


def change_event(operation: str = "insert", **fields: object) -> dict[str, Any]:
    """Return a change event as capture decodes it; None takes a field away."""
    event = {
        "_id": {"_data": DATA},
        "operationType": operation,
        "clusterTime": Timestamp(1709296200, 1),
        "wallTime": WALL_TIME,
        "fullDocument": {"_id": ID, "name": "Ann"},
        "ns": {"db": "test", "coll": "users"},
        "documentKey": {"_id": ID},
    } | fields
    present = {name: value for name, value in event.items() if value is not None}
    return bson.decode(bson.encode(present), codec_options=DECODED_LIKE_CAPTURE)


def encode(change: Mapping[str, object], collection: str = "users") -> EncodedEvent:
    """Encode a change event, by default for the collection that `change_event` names."""
    return ENCODER.encode(change, collection)


def test_an_insert_becomes_a_message() -> None:
    """Token, subject, message id, time and payload are those of the event."""
    event = encode(change_event())
    assert event.token == ResumeToken(DATA)
    assert event.operation == "insert"
    assert event.subject == "cs.users.insert.65f0c0ffee65f0c0ffee65f0"
    assert event.message_id == DATA
    assert event.committed_at_s == 1709296200.25
    assert json.loads(event.payload) == {
        "_id": {"_data": DATA},
        "operationType": "insert",
        "clusterTime": {"$timestamp": {"t": 1709296200, "i": 1}},
        "wallTime": {"$date": "2024-03-01T12:30:00.25Z"},
        "fullDocument": {"_id": {"$oid": str(ID)}, "name": "Ann"},
        "ns": {"db": "test", "coll": "users"},
        "documentKey": {"_id": {"$oid": str(ID)}},
    }


def test_fields_are_read_by_name() -> None:
    """MongoDB puts fields in another order in a transaction; the message is the same."""
    change = change_event(txnNumber=Int64(3))
    turned = dict(reversed(change.items()))
    event, other = encode(change), encode(turned)
    assert (event.subject, event.token, event.message_id) == (
        other.subject,
        other.token,
        other.message_id,
    )
    assert json.loads(event.payload) == json.loads(other.payload)


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("delete", {"fullDocument": None}),
        ("update", {"fullDocument": None, "updateDescription": {"updatedFields": {"a": 1}}}),
        ("replace", {}),
    ],
)
def test_the_document_id_is_that_of_the_document_key(
    operation: Operation, fields: dict[str, object]
) -> None:
    """Every operation has its subject, also one whose document is gone."""
    event = encode(change_event(operation, **fields))
    assert event.subject == f"cs.users.{operation}.{ID}"
    assert event.operation == operation


def test_an_update_of_a_document_that_is_gone_says_null() -> None:
    """A look-up that found nothing stays a null in the payload."""
    change = change_event("update") | {"fullDocument": None}
    assert json.loads(encode(change).payload)["fullDocument"] is None


def test_an_id_that_is_null_or_missing_has_a_subject() -> None:
    """MongoDB allows a null `_id`, and its index holds a missing one for the same."""
    for key in ({"_id": None}, {"shard": 1}):
        event = encode(change_event(documentKey=key))
        assert event.subject == "cs.users.insert.k:null"


@pytest.mark.parametrize("operation", sorted({*get_args(Operation)} - DOCUMENT_OPERATIONS))
def test_an_event_without_a_document_has_a_subject(operation: Operation) -> None:
    """What happens to a whole collection or database stands where a null `_id` would."""
    event = encode(change_event(operation, documentKey=None, fullDocument=None))
    assert event.subject == f"cs.users.{operation}.k:null"
    assert (event.operation, event.message_id) == (operation, DATA)


def test_an_event_of_several_collections_is_a_message_for_each() -> None:
    """A rename's target, and the collections of a dropped database, have message ids of their own.

    One id for all would have the stream take the second for a repetition of the first.
    """
    rename = change_event("rename", documentKey=None, to={"db": "test", "coll": "people.old"})
    assert encode(rename, "users").message_id == DATA
    target = encode(rename, "test.people.old")
    assert target.message_id == f"{DATA}:test%2Epeople%2Eold"
    assert target.subject == "cs.test%2Epeople%2Eold.rename.k:null"
    assert target.token == encode(rename, "users").token
    dropped = change_event("dropDatabase", documentKey=None, ns={"db": "test"})
    assert encode(dropped, "users").message_id == f"{DATA}:users"
    assert encode(change_event("invalidate", ns=None), "users").message_id == f"{DATA}:users"


@pytest.mark.parametrize(
    ("database", "collection", "key"),
    [("test", "a.b", "test.a.b"), ("crm", "users", "crm.users"), ("crm", "a.b", "crm.a.b")],
)
def test_a_collection_with_its_database_in_its_key_has_its_own_events(
    database: str, collection: str, key: str
) -> None:
    """The subject has the database; the message id is the token, as of any event of its own."""
    event = encode(change_event(ns={"db": database, "coll": collection}), key)
    assert event.message_id == DATA
    assert event.subject.split(".")[1] == key.replace(".", "%2E")


def test_what_a_rename_says_of_two_keys_that_look_alike_is_two_messages() -> None:
    """A collection may have the name of another one's key."""
    names = {"ns": {"db": "crm", "coll": "crm.users"}, "to": {"db": "crm", "coll": "users"}}
    rename = change_event("rename", documentKey=None, **names)
    assert encode(rename, "crm.crm.users").message_id == DATA
    assert encode(rename, "crm.users").message_id == f"{DATA}:crm%2Eusers"


def test_type_bits_are_part_of_the_token() -> None:
    """The token can be given back to MongoDB whole."""
    token = ENCODER.token_of(change_event(_id={"_data": DATA, "_typeBits": b"@"}))
    assert (token.data, token.type_bits) == (DATA, b"@")


def test_a_token_over_the_bound_gives_a_digest_as_message_id() -> None:
    """A message id is never longer than TOKEN_LIMIT, and says when it is a digest."""
    longest = DATA.ljust(TOKEN_LIMIT, "0")
    assert encode(change_event(_id={"_data": longest})).message_id == longest
    event = encode(change_event(_id={"_data": longest + "0"}))
    assert event.message_id == f"sha256:{hashlib.sha256((longest + '0').encode()).hexdigest()}"
    assert event.token == ResumeToken(longest + "0")


def test_before_mongodb_6_the_commit_time_is_in_whole_seconds() -> None:
    """Without `wallTime` the cluster time says when an event was committed."""
    assert encode(change_event(wallTime=None)).committed_at_s == 1709296200


def scoped_code(levels: int) -> Code:
    """Return code in the scope of code, over and over: deeper than MongoDB would store."""
    code = Code("f")
    for _ in range(levels):
        code = Code("f", {"f": code})
    return code


@pytest.mark.parametrize(
    "change",
    [
        change_event("unheardOf"),
        change_event(operationType=None),
        change_event(_id=None),
        change_event(_id={"other": 1}),
        change_event(_id={"_data": DATA, "_typeBits": "@"}),
        change_event(documentKey=None),
        change_event(wallTime=None, clusterTime=None),
        change_event() | {"fullDocument": {"secret": scoped_code(300)}},
        change_event() | {"fullDocument": {"secret": 1j}},
        change_event() | {"fullDocument": {"secret": "\ud800"}},
        change_event() | {"documentKey": {"_id": "secret\ud800"}},
    ],
)
def test_what_cannot_be_encoded_waits_for_a_person(change: dict[str, Any]) -> None:
    """The error names the operation and the reason, holds no content, and loses no event."""
    with pytest.raises(EventUnencodableError) as caught:
        encode(change)
    error = caught.value
    assert isinstance(error, SinkError)
    assert (error.kind, error.recovery) == ("event_unencodable", Recovery.WAIT)
    assert error.operation == change.get("operationType")
    assert repr(error.operation) in str(error)
    assert "secret" not in str(error)


@settings(max_examples=200, deadline=None)
@given(values, values)
def test_any_document_and_id_can_be_encoded(document_id: object, value: object) -> None:
    """No value that MongoDB stores makes an event unencodable."""
    change = change_event(documentKey={"_id": document_id}, fullDocument={"v": value})
    json.loads(encode(change).payload)


@given(st.lists(st.text("0123456789ABCDEF", min_size=18, max_size=60), min_size=2))
def test_tokens_sort_as_their_data(data: list[str]) -> None:
    """Tokens compare as MongoDB's do, by `_data`, whatever their type bits."""
    tokens = [
        ENCODER.token_of({"_id": {"_data": one, "_typeBits": bytes([position % 256])}})
        for position, one in enumerate(data)
    ]
    assert [token.data for token in sorted(tokens)] == sorted(data)


def test_a_form_counts_for_what_can_be_encoded_and_for_what_remains() -> None:
    """Subjects have the words of the form, also those of events that can't be encoded."""
    encoder = Encoder(stream="cs", form=SubjectForm(document_id="all"))
    assert encoder.encode(change_event(), "users").subject == "cs.users.insert.all"
    assert encoder.remains(change_event(), "users").subject == "cs.users.insert.all"
