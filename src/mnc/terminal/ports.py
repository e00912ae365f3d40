"""What showing a stream needs of it; `mnc.drivers.nats.tail` provides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mnc.model import StreamSeq

__all__ = ["MessageSource", "StreamMessage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMessage:
    """A message as the stream has stored it."""

    subject: str
    stream_seq: StreamSeq
    stored_at_s: float
    """When the stream stored it: seconds since 1970, by the broker's clock."""
    headers: Mapping[str, str]
    payload: bytes


class MessageSource(Protocol):
    """A stream that is being followed. Not safe for two tasks at once."""

    async def next_batch(self) -> Sequence[StreamMessage]:
        """Return the next messages in order; wait up to about a second for one, then return none.

        After an error the next call goes on where the last batch ended. Raises StreamMissingError
        when there is no such stream, SinkError when it can't be read now.

        Cancellation: nothing is lost; the next call returns the same messages.
        """
        ...
