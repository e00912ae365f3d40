"""An event as a message: its headers, and how many go out at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mnc.model import EncodedEvent

__all__ = ["headers_of", "is_turn_over"]

_MESSAGES_A_TURN = 64
"""Messages that are written before others have a turn: half a millisecond of work. A whole batch
takes seven, and ten times as long on a busy machine, in which no heartbeat would go out."""


def headers_of(event: EncodedEvent, place: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an event: those of its `place` in a row, and its own."""
    return {**place, "Nats-Msg-Id": event.message_id, **dict(event.headers)}


def is_turn_over(number: int) -> bool:
    """Say whether others should have a turn before message `number` of a row."""
    return number % _MESSAGES_A_TURN == 0
