"""Where a collection stands, as messages of the stream say it.

A position marker says it as a whole. Where there is none, or where events stand behind it, the
collection's last event says it: events are stored in order, so everything before it is there.
"""

from __future__ import annotations

import base64

import orjson

from mnc.drivers.nats.stream_api import LastMessage, StreamApi
from mnc.encode.subject import filters_of_marker
from mnc.errors import SinkRefusedError
from mnc.model import Checkpoint, Epoch, Position, ResumeToken

__all__ = ["encode_position", "last_event", "last_marker", "last_position"]


async def last_position(api: StreamApi, marker_subject: str) -> Checkpoint | None:
    """Return what the later of the two below says, or None. Raises SinkError."""
    found = [
        reached
        for last in (last_marker, last_event)
        if (reached := await last(api, marker_subject)) is not None
    ]
    return max(found, key=lambda reached: reached.stream_seq, default=None)


async def last_marker(api: StreamApi, marker_subject: str) -> Checkpoint | None:
    """Return what the last message of `marker_subject` says, or None. Raises SinkError."""
    message = await api.last_message(marker_subject)
    if message is None:
        return None
    try:
        position = _decode_position(message.payload)
    except (KeyError, TypeError, ValueError) as error:
        raise SinkRefusedError(
            f"the last message of {marker_subject} is no position marker",
            remedy="remove it if a person put it there; mnc continues from its token document",
        ) from error
    return Checkpoint(position=position, stream_seq=message.stream_seq)


async def last_event(api: StreamApi, marker_subject: str) -> Checkpoint | None:
    """Return what the last event of the marker's collection says, or None. Raises SinkError."""
    found = [
        message
        for subject in filters_of_marker(marker_subject, stream=api.stream)
        if (message := await api.last_message(subject)) is not None
    ]
    if not found:
        return None
    message = max(found, key=lambda message: message.stream_seq)
    return Checkpoint(
        position=Position(token=_token_of_event(message)), stream_seq=message.stream_seq
    )


def encode_position(position: Position) -> bytes:
    """Return the marker's payload: JSON, as docs/messages.md describes it."""
    token = position.token
    time = token.cluster_time
    fields: dict[str, object] = {"token": token.data}
    if token.type_bits is not None:
        fields["typeBits"] = base64.b64encode(token.type_bits).decode()
    fields["clusterTime"] = {"t": time.seconds, "i": time.increment}
    fields["epoch"] = position.epoch
    return orjson.dumps(fields)


def _decode_position(payload: bytes) -> Position:
    """Read a marker's payload. Raises KeyError, TypeError or ValueError when it is none."""
    fields = orjson.loads(payload)
    if not isinstance(fields, dict):
        raise TypeError("a position marker is a JSON object")
    type_bits = fields.get("typeBits")
    token = ResumeToken(
        str(fields["token"]), None if type_bits is None else base64.b64decode(type_bits)
    )
    _ = token.cluster_time  # raises when the token is none
    return Position(token=token, epoch=Epoch(int(fields["epoch"])))


def _token_of_event(message: LastMessage) -> ResumeToken:
    """Read the resume token of an event's payload, its `_id`."""
    try:
        fields = orjson.loads(message.payload)["_id"]
        type_bits = fields.get("_typeBits")
        token = ResumeToken(
            fields["_data"],
            None if type_bits is None else base64.b64decode(type_bits["$binary"]["base64"]),
        )
        _ = token.cluster_time  # raises when the token is none
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        operation = ".".join(message.subject.split(".")[:3])  # what follows is a document's id
        raise SinkRefusedError(
            f"message {message.stream_seq} of the stream, of {operation}, is no change event",
            remedy="remove it if a person put it there; mnc continues from the event before it",
        ) from error
    return token
