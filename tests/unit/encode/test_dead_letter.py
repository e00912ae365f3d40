"""Summaries, references and dead letters: what is left of an event that can't be as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.values import event
from tests.unit.encode.test_event import DATA, ENCODER, change_event, encode

from mnc.encode.dead_letter import (
    CAUSE_HEADER,
    ERROR_HEADER,
    SUBJECT_HEADER,
    DeadLetteringEncoder,
    dead_letter,
)
from mnc.encode.event import EventUnencodableError
from mnc.encode.reference import PAYLOAD_HEADER, PayloadReference, read_reference, refer
from mnc.encode.summary import SUMMARY_FROM_BYTES
from mnc.errors import SinkRefusedError
from mnc.model import TOKEN_LIMIT

_REFERENCE = PayloadReference(bucket="cs_payloads", object="82AB", bytes=5, sha256="00ff")
_LARGE = {"_id": 1, "large": "x" * SUMMARY_FROM_BYTES}
_ENCODER = DeadLetteringEncoder(ENCODER)


def test_a_large_event_has_a_summary() -> None:
    """It says what happened to which document, as the payload does, without the document."""
    encoded = encode(change_event(fullDocument=_LARGE))
    payload, summary = json.loads(encoded.payload), json.loads(encoded.summary)
    del payload["fullDocument"]
    assert summary == payload
    assert encode(change_event()).summary == b""


def test_a_summary_is_small_whatever_the_id() -> None:
    """A key of megabytes is left out, and the token is cut."""
    long_token = DATA.ljust(100_000, "0")
    change = change_event(
        _id={"_data": long_token}, documentKey={"_id": "k" * 100_000}, fullDocument=_LARGE
    )
    summary = json.loads(encode(change).summary)
    assert summary["_id"] == {"_data": f"{long_token[:TOKEN_LIMIT]}G"}
    assert "documentKey" not in summary
    assert summary["ns"] == change["ns"]


def test_a_reference_is_read_as_it_was_written() -> None:
    """The message has the summary's fields and the reference, and keeps subject and message id."""
    original = encode(change_event(fullDocument=_LARGE))
    referring = refer(original, _REFERENCE)
    assert read_reference(dict(referring.headers), referring.payload) == _REFERENCE
    payload = json.loads(referring.payload)
    assert payload.pop("payload") == {
        "bucket": "cs_payloads",
        "object": "82AB",
        "bytes": 5,
        "sha256": "00ff",
    }
    assert payload == json.loads(original.summary)
    assert (referring.subject, referring.message_id) == (original.subject, original.message_id)
    assert referring.summary == b""


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"payload":1}', b"[]"])
def test_a_message_that_only_claims_to_refer_is_an_error(payload: bytes) -> None:
    """It is told from a message with its own payload, which needs no reading at all."""
    with pytest.raises(ValueError, match=r".+"):
        read_reference({PAYLOAD_HEADER: "object-store"}, payload)
    assert read_reference({}, payload) is None


def test_a_dead_letter_says_why_in_its_headers() -> None:
    """Kind, words and the subject that it would have had, each on one line of ASCII."""
    error = SinkRefusedError("refused:\r\n é" + "x" * 1000)
    letter = dead_letter(event(1, payload=b'{"a":1}'), error)
    headers = dict(letter.headers)
    assert letter.subject == "cs_deadletter.users"
    assert letter.payload == b'{"a":1}'
    assert letter.dead_letter is error
    assert headers[CAUSE_HEADER] == "sink_refused"
    assert headers[SUBJECT_HEADER] == event(1).subject
    assert headers[ERROR_HEADER].startswith("refused: ?xxx")
    assert len(headers[ERROR_HEADER]) == 500


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        (change_event() | {"fullDocument": {"secret": 1j}}, "65f0c0ffee65f0c0ffee65f0"),
        (change_event() | {"fullDocument": {"secret": "\ud800"}}, "65f0c0ffee65f0c0ffee65f0"),
        (change_event() | {"documentKey": {"_id": "secret\ud800"}}, "k:null"),
        (change_event(documentKey=None), "k:null"),
        (change_event(wallTime=None, clusterTime=None), "65f0c0ffee65f0c0ffee65f0"),
    ],
)
def test_what_cannot_be_encoded_becomes_a_dead_letter(change: dict[str, Any], subject: str) -> None:
    """It has the event's token, message id and what can be said of it, and no content."""
    letter = _ENCODER.encode(change, "users")
    assert letter.token == ENCODER.token_of(change)
    assert letter.message_id == DATA
    assert letter.subject == "cs_deadletter.users"
    assert isinstance(letter.dead_letter, EventUnencodableError)
    assert dict(letter.headers)[SUBJECT_HEADER] == f"cs.users.insert.{subject}"
    assert json.loads(letter.payload)["_id"] == {"_data": DATA}
    assert b"secret" not in letter.payload
    assert "secret" not in str(letter.headers)


def test_what_can_be_encoded_is_no_dead_letter() -> None:
    """An ordinary event is the encoder's."""
    assert _ENCODER.encode(change_event(), "users") == encode(change_event())


@pytest.mark.parametrize("change", [change_event("unheardOf"), change_event(_id=None)])
def test_what_is_no_change_event_is_an_error(change: dict[str, Any]) -> None:
    """Without an operation or a token, there is nothing that a dead letter could say."""
    with pytest.raises(EventUnencodableError):
        _ENCODER.encode(change, "users")


@pytest.mark.parametrize("error", [OverflowError, ValueError, KeyError, RecursionError, TypeError])
def test_any_error_about_data_is_one_of_encoding(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that nobody thought of ends as a dead letter, and not the process."""

    def fail(_: object) -> bytes:
        raise error("a surprise")

    monkeypatch.setattr("mnc.encode.event.to_extended_json", fail)
    with pytest.raises(EventUnencodableError):
        encode(change_event())


@given(st.text(max_size=40), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_any_reference_survives(name: str, sha256: str) -> None:
    """Names are escaped as JSON wants it."""
    reference = PayloadReference(bucket=name, object=name, bytes=1, sha256=sha256)
    referring = refer(encode(change_event(fullDocument=_LARGE)), reference)
    assert read_reference(dict(referring.headers), referring.payload) == reference
