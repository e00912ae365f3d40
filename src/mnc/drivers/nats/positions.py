"""Where a collection stands, as messages of the stream say it.

A position marker says it as a whole. Where there is none, or where events stand behind it, the
collection's last event says it: events are stored in order, so everything before it is there.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import orjson

from mnc.drivers.nats.stream_api import LastMessage, StreamApi
from mnc.encode.snapshot import SNAPSHOT_HEADER, snapshot_fields, snapshot_of
from mnc.encode.subject import filters_of_marker
from mnc.errors import SinkRefusedError
from mnc.model import Checkpoint, Epoch, Position, ResumeToken, Snapshot

__all__ = [
    "LastPositions",
    "encode_position",
    "last_marker",
    "last_positions",
    "token_of_event",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPositions:
    """What a collection's marker and its last event say, looked up at about the same time."""

    marker: Checkpoint | None
    event: Checkpoint | None

    @property
    def latest(self) -> Checkpoint | None:
        """What stands later in the stream of the two."""
        found = [position for position in (self.marker, self.event) if position is not None]
        return max(found, key=lambda position: position.stream_seq, default=None)

    @property
    def unmarked(self) -> Checkpoint | None:
        """The event's position if it is later than the marker, in the stream and in MongoDB."""
        if self.event is None or self.marker is None:
            return self.event
        later = self.event.position.token > self.marker.position.token
        return self.event if later and self.event.stream_seq > self.marker.stream_seq else None


async def last_positions(api: StreamApi, marker_subject: str) -> LastPositions:
    """Return what the marker and the last event of its collection say. Raises SinkError."""
    filters = filters_of_marker(marker_subject, stream=api.stream)
    marker, *events = await api.last_messages((marker_subject, *filters))
    event = max(filter(None, events), key=lambda message: message.stream_seq, default=None)
    return LastPositions(
        marker=None if marker is None else _position_of_marker(marker),
        event=None if event is None else _position_of_event(event),
    )


async def last_marker(api: StreamApi, marker_subject: str) -> Checkpoint | None:
    """Return what the last message of `marker_subject` says, or None. Raises SinkError."""
    (message,) = await api.last_messages((marker_subject,))
    return None if message is None else _position_of_marker(message)


def encode_position(position: Position) -> bytes:
    """Return the marker's payload: JSON, as docs/messages.md describes it."""
    token = position.token
    time = token.cluster_time
    fields: dict[str, object] = {"token": token.data}
    if token.type_bits is not None:
        fields["typeBits"] = base64.b64encode(token.type_bits).decode()
    fields["clusterTime"] = {"t": time.seconds, "i": time.increment}
    fields["epoch"] = position.epoch
    if position.snapshot is not None:
        fields["snapshot"] = snapshot_fields(position.snapshot)
    return orjson.dumps(fields)


def _position_of_marker(message: LastMessage) -> Checkpoint:
    try:
        position = _decode_position(message.payload)
    except (KeyError, TypeError, ValueError) as error:
        raise SinkRefusedError(
            f"the last message of {message.subject} is no position marker",
            remedy="remove it if a person put it there; mnc continues from its token document",
        ) from error
    return Checkpoint(position=position, stream_seq=message.stream_seq)


def _position_of_event(message: LastMessage) -> Checkpoint:
    position = Position(token=token_of_event(message), snapshot=_snapshot_of_event(message))
    return Checkpoint(position=position, stream_seq=message.stream_seq)


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
    snapshot = fields.get("snapshot")
    return Position(
        token=token,
        epoch=Epoch(int(fields["epoch"])),
        snapshot=None if snapshot is None else snapshot_of(snapshot),
    )


def token_of_event(message: LastMessage) -> ResumeToken:
    """Return the resume token in an event's payload, its `_id`.

    Raises SinkRefusedError when the message is no change event.
    """
    try:
        fields = orjson.loads(message.payload)["_id"]
        type_bits = fields.get("_typeBits")
        token = ResumeToken(
            fields["_data"],
            None if type_bits is None else base64.b64decode(type_bits["$binary"]["base64"]),
        )
        _ = token.cluster_time  # raises when the token is none
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_event(message) from error
    return token


def _snapshot_of_event(message: LastMessage) -> Snapshot | None:
    """Read how far a snapshot is from the headers of a document that it stored."""
    header = message.headers.get(SNAPSHOT_HEADER)
    try:
        return None if header is None else snapshot_of(orjson.loads(header))
    except (KeyError, TypeError, ValueError) as error:
        raise _no_event(message) from error


def _no_event(message: LastMessage) -> SinkRefusedError:
    operation = ".".join(message.subject.split(".")[:3])  # what follows is a document's id
    return SinkRefusedError(
        f"message {message.stream_seq} of the stream, of {operation}, is no change event",
        remedy="remove it if a person put it there; mnc continues from the event before it",
    )
