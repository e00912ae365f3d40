"""Events as people and scripts read them: what a stored message says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from mnc.encode.dead_letter import CAUSE_HEADER, SUBJECT_HEADER
from mnc.encode.part import Digest, unescape
from mnc.encode.subject import decode_name
from mnc.model import StreamSeq
from mnc.terminal.ports import StreamMessage

__all__ = [
    "ShownEvent",
    "id_text",
    "json_line",
    "lag_text",
    "plain_line",
    "printable",
    "read_event",
]

_LONG_LAG_S = 10.0
_NO_PARTS = ("-", "-", "-")
"""What is shown of a subject that has less than four parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvent:
    """A change event, with what is shown of it.

    Invariants: `collection`, `operation` and `document_id` can be printed: whoever published the
    message, they don't hold what would end a line or change a terminal.
    """

    subject: str
    stream_seq: StreamSeq
    stored_at_s: float
    """By the broker's clock: seconds since 1970."""
    collection: str
    operation: str
    document_id: str
    """The `_id` as it stands in the subject, without the escapes."""
    dead_letter: str | None
    """Why it is a dead letter, in a word; None when it isn't one."""
    lag_s: float | None
    """From the write in MongoDB to the stream, by the clocks of both; None when it isn't known."""
    change: object
    """The payload: the event in Extended JSON, parsed; text when it isn't JSON."""


def read_event(message: StreamMessage) -> ShownEvent:
    """Read a message of the stream; it may be of another publisher than mnc.

    A dead letter is shown as the event that it would have been.
    """
    subject = message.headers.get(SUBJECT_HEADER, message.subject)
    _, collection, operation, document_id = [*subject.split(".", 3), *_NO_PARTS][:4]
    cause = message.headers.get(CAUSE_HEADER)
    change = _parsed(message.payload)
    written_at_s = _written_at_s(_fields(change))
    return ShownEvent(
        subject=message.subject,
        stream_seq=message.stream_seq,
        stored_at_s=message.stored_at_s,
        collection=printable(_collection(collection)),
        operation=printable(str(_fields(change).get("operationType", operation))),
        document_id=printable(_unescaped(document_id)),
        dead_letter=None if cause is None else printable(cause),
        lag_s=None if written_at_s is None else message.stored_at_s - written_at_s,
        change=change,
    )


def plain_line(event: ShownEvent) -> str:
    """Return a line for a pipe, without its end: time, collection, operation, id and lag in ms.

    The fields have tabs between them; the lag is `-` when it isn't known.
    """
    stored_at = datetime.fromtimestamp(event.stored_at_s, UTC)
    lag = "-" if event.lag_s is None else f"{event.lag_s * 1000:.0f}"
    return "\t".join(
        (
            f"{stored_at:%Y-%m-%dT%H:%M:%S}.{stored_at.microsecond // 1000:03}Z",
            event.collection,
            event.operation,
            id_text(event),
            lag,
        )
    )


def json_line(event: ShownEvent) -> str:
    """Return a line of JSON, without its end: the message's place, the event, and its payload.

    `id` is the document's `_id` in Extended JSON, or the subject's last part when the payload has
    none. `lag_s` is null when it isn't known. A dead letter has its cause in `dead_letter`.
    """
    key = _fields(_fields(event.change).get("documentKey"))
    line = {
        "subject": event.subject,
        "seq": event.stream_seq,
        "operation": event.operation,
        "collection": event.collection,
        "id": key.get("_id", event.document_id),
        "lag_s": None if event.lag_s is None else round(event.lag_s, 6),
        "payload": event.change,
    }
    if event.dead_letter is not None:
        line["dead_letter"] = event.dead_letter
    return orjson.dumps(line).decode()


def id_text(event: ShownEvent) -> str:
    """Return the document id for people, with the word that the event is a dead letter if it is."""
    if event.dead_letter is None:
        return event.document_id
    return f"{event.document_id} (dead letter: {event.dead_letter})"


def lag_text(lag_s: float | None) -> str:
    """Return a lag for people: milliseconds, seconds from 10 s on, `-` when it isn't known."""
    if lag_s is None:
        return "-"
    return f"{lag_s * 1000:,.0f} ms" if lag_s < _LONG_LAG_S else f"{lag_s:,.0f} s"


def _parsed(payload: bytes) -> object:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload.decode(errors="replace")


def _fields(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _collection(part: str) -> str:
    try:
        name = decode_name(part)
    except ValueError:
        return part
    return part if isinstance(name, Digest) else name


def _unescaped(part: str) -> str:
    try:
        return unescape(part)
    except ValueError:
        return part


def printable(text: str) -> str:
    """Return `text` with what would steer a terminal escaped."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _written_at_s(change: Mapping[str, object]) -> float | None:
    """Return when MongoDB wrote the change, to the millisecond where the event tells it."""
    match change:
        case {"wallTime": {"$date": str(date)}}:
            try:
                return datetime.fromisoformat(date).timestamp()
            except ValueError:
                return None
        case {"clusterTime": {"$timestamp": {"t": int(seconds)}}}:
            return float(seconds)
        case _:
            return None
