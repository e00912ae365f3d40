"""What is shown of a stored message, whoever published it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson import ObjectId, Timestamp

from mnc.encode.event import Encoder
from mnc.model import StreamSeq
from mnc.terminal.event import json_line, lag_text, plain_line, read_event
from mnc.terminal.ports import StreamMessage

STORED_AT_S = 1_700_000_000.0123


def message(subject: str, payload: bytes = b"", **headers: str) -> StreamMessage:
    """Make a stored message."""
    return StreamMessage(
        subject=subject,
        stream_seq=StreamSeq(7),
        stored_at_s=STORED_AT_S,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        payload=payload,
    )


def payload(**fields: Any) -> bytes:
    """Make an event's payload."""
    return json.dumps(fields).encode()


def written(date: str) -> bytes:
    """Make the payload of an event that MongoDB wrote at a time."""
    return payload(wallTime={"$date": date})


def test_dead_letter_is_shown_as_the_event_that_it_would_have_been() -> None:
    """Collection, operation and id are the event's; the cause stands behind the id."""
    event = read_event(
        message(
            "cs_deadletter.users",
            b"{}",
            Mnc_Dead_Letter="sink_refused",
            Mnc_Subject="cs.users.insert.s:a%20b",
        )
    )
    assert plain_line(event).split("\t")[1:] == [
        "users",
        "insert",
        "s:a b (dead letter: sink_refused)",
        "-",
    ]
    assert json.loads(json_line(event))["dead_letter"] == "sink_refused"
    assert "dead_letter" not in json.loads(json_line(read_event(message("cs.users.insert.1"))))


def test_message_of_another_publisher_to_the_dead_letters_is_shown() -> None:
    """What its subject doesn't say is shown as a dash."""
    event = read_event(message("cs_deadletter.users"))
    assert plain_line(event).split("\t")[1:] == ["users", "-", "-", "-"]


def test_lag_counts_from_the_wall_time() -> None:
    """The lag is the stored time minus the event's own, to the millisecond."""
    event = read_event(message("cs.users.insert.1", written("2023-11-14T22:13:20.002Z")))
    assert event.lag_s == pytest.approx(0.0103, abs=1e-5)


@pytest.mark.parametrize("date", ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20.01Z"])
def test_dates_of_any_precision_are_read(date: str) -> None:
    """Relaxed Extended JSON leaves trailing zeros of the fraction out."""
    event = read_event(message("cs.users.insert.1", written(date)))
    assert event.lag_s is not None
    assert 0 < event.lag_s < 0.02


def test_lag_falls_back_to_the_cluster_time() -> None:
    """MongoDB before 6.0 gives no wall time; the cluster time's seconds count."""
    before = payload(clusterTime={"$timestamp": {"t": 1_699_999_998, "i": 3}})
    event = read_event(message("cs.users.insert.1", before))
    assert event.lag_s == pytest.approx(2.0123, abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", written("soon"), payload(wallTime=3)])
def test_foreign_payload_has_no_lag(content: bytes) -> None:
    """A payload that is no event's is shown without a lag, and is no error."""
    event = read_event(message("cs.users.insert.1", content))
    assert event.lag_s is None
    assert json.loads(json_line(event))["id"] == "1"


def test_names_are_decoded() -> None:
    """Escapes of the subject are undone where the result can be printed."""
    event = read_event(message("cs.my%2Eusers.insert.John%20Smith"))
    assert (event.collection, event.operation) == ("my.users", "insert")
    assert event.document_id == "John Smith"


@pytest.mark.parametrize("part", ["a%1B[2Jb", "a%0Ab", "a%E2%80%AEb", "a\x1bb"])
def test_nothing_shown_can_change_a_terminal(part: str) -> None:
    """Control and direction characters stay escaped, so a line stays one line."""
    event = read_event(message(f"cs.{part}.{part}.{part}"))
    assert plain_line(event).replace("\t", "").isprintable()


@pytest.mark.parametrize("part", ["%FF", "%zz", "h:1"])
def test_undecodable_parts_are_shown_as_they_are(part: str) -> None:
    """A part that mnc didn't make is no error."""
    event = read_event(message(f"cs.{part}.insert.{part}"))
    assert event.document_id == part


def test_plain_line_has_tabs_between_its_fields() -> None:
    """A pipe gets time, collection, operation, id and milliseconds, which `cut` can take apart."""
    line = plain_line(read_event(message("cs.users.insert.1", written("2023-11-14T22:13:20.002Z"))))
    assert line == "2023-11-14T22:13:20.012Z\tusers\tinsert\t1\t10"


def test_json_line_is_the_whole_event() -> None:
    """What mnc publishes comes out of `--json` field for field, with the `_id` in Extended JSON."""
    key = ObjectId("65f0000000000000000000aa")
    change: dict[str, Any] = {
        "_id": {"_data": "8265"},
        "clusterTime": Timestamp(1_699_999_998, 3),
        "operationType": "insert",
        "ns": {"db": "shop", "coll": "users"},
        "documentKey": {"_id": key},
        "fullDocument": {"_id": key, "name": "Zoë", "big": 2**53 + 1, "share": 0.1},
    }
    encoded = Encoder(stream="cs").encode(change, "users")
    line = json_line(read_event(message(encoded.subject, encoded.payload)))
    assert "\n" not in line
    shown = json.loads(line)
    assert shown["payload"] == json.loads(encoded.payload)
    assert shown["id"] == {"$oid": str(key)}
    assert shown["seq"] == 7
    assert shown["subject"] == encoded.subject
    assert (shown["collection"], shown["operation"]) == ("users", "insert")


def test_the_operation_is_shown_though_the_subject_has_a_word_for_it() -> None:
    """What NATS_SUBJECT leaves out of the subject is in the payload, and shown."""
    shown = read_event(message("cs.users.any.all", b'{"operationType": "delete"}'))
    assert (shown.operation, shown.document_id) == ("delete", "all")
    assert read_event(message("cs.users.any.all", b"[]")).operation == "any"


@pytest.mark.parametrize(
    ("lag_s", "text"),
    [(None, "-"), (0.0042, "4 ms"), (9.99, "9,990 ms"), (75.2, "75 s"), (-0.003, "-3 ms")],
)
def test_lag_text_is_short(lag_s: float | None, text: str) -> None:
    """A lag is shown in the unit that a reader takes in at once."""
    assert lag_text(lag_s) == text
