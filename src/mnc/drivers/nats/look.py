"""Where collections stand in streams, for `mnc migrate`. Nothing is changed."""

from __future__ import annotations

from typing import get_args

import orjson

from mnc.drivers.nats.positions import last_positions, token_of_event
from mnc.drivers.nats.session import NatsSession
from mnc.drivers.nats.stream_api import StreamApi
from mnc.encode.subject import marker_subject
from mnc.errors import StreamMissingError
from mnc.migration.takeover import InStream
from mnc.model import Operation, ResumeToken

__all__ = ["JetStreamLook", "StreamsByCollection"]

_EACH = "*"


class JetStreamLook:
    """A stream that is looked at; see `StreamLook`."""

    def __init__(self, session: NatsSession, *, stream: str, timeout_s: float) -> None:
        self._api = StreamApi(session, stream=stream, timeout_s=timeout_s)

    async def look(self, collection: str, /) -> InStream:
        """Return what the stream says of a collection; see `StreamLook.look`."""
        subject = marker_subject(stream=self._api.stream, collection=collection)
        try:
            last = await last_positions(self._api, subject)
        except StreamMissingError:
            return InStream(event=None, position=None, has_marker=False)
        return InStream(
            event=last.event,
            position=last.unmarked or last.marker,
            has_marker=last.marker is not None,
        )


class StreamsByCollection:
    """Streams of one collection each, with subjects `<stream>.<operation>`; see `EarlierStream`.

    A `*` in `streams` stands for the collection's name in upper case. Of a stream that has several
    collections, the events of the one that comes last may hide those of another.
    """

    def __init__(
        self, session: NatsSession, *, streams: str, database: str, timeout_s: float
    ) -> None:
        self._session = session
        self._database = database
        self._streams = streams
        self._timeout_s = timeout_s

    async def last(self, collection: str, /) -> ResumeToken | None:
        """Return the token of a collection's last event; see `EarlierStream.last`."""
        stream = self._streams.replace(_EACH, collection.upper())
        api = StreamApi(self._session, stream=stream, timeout_s=self._timeout_s)
        try:
            found = await api.last_messages([f"{stream}.{name}" for name in get_args(Operation)])
        except StreamMissingError as error:
            raise StreamMissingError(
                f"there is no stream {stream}", remedy="correct --published-to", code=error.code
            ) from error
        wanted = {"db": self._database, "coll": collection}
        return max(
            (
                token_of_event(message)
                for message in found
                if message is not None and orjson.loads(message.payload).get("ns") == wanted
            ),
            default=None,
        )
