"""An event as a message: its headers. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mnc.model import EncodedEvent

__all__ = ["headers_of"]


def headers_of(event: EncodedEvent, place: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an event: those of its `place` in a row, and its own."""
    return {**place, "Nats-Msg-Id": event.message_id, **dict(event.headers)}
