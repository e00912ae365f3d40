"""Tokens, events and checkpoints for tests, made from small numbers."""

from __future__ import annotations

from tests.fakes.tokens import event_token

from mnc.encode.summary import SUMMARY_FROM_BYTES
from mnc.model import (
    Checkpoint,
    ClusterTime,
    EncodedEvent,
    Epoch,
    Namespace,
    Position,
    ResumeToken,
    StreamSeq,
)

__all__ = ["NAMESPACE", "checkpoint", "event", "events", "token"]

NAMESPACE = Namespace(database="test", collection="users")


def token(number: int) -> ResumeToken:
    """Return the token of event `number`; tokens sort like their numbers."""
    return event_token(ClusterTime(1_700_000_000, number))


def event(number: int, *, payload: bytes = b"{}", stream: str = "cs") -> EncodedEvent:
    """Return event `number`, an insert into `users`."""
    position = token(number)
    return EncodedEvent(
        token=position,
        operation="insert",
        subject=f"{stream}.users.insert.{number}",
        message_id=position.data,
        payload=payload,
        summary=b'{"n":%d}' % number if len(payload) >= SUMMARY_FROM_BYTES else b"",
        committed_at_s=1_700_000_000.0,
    )


def events(first: int, last: int) -> list[EncodedEvent]:
    """Return the events from `first` up to and including `last`."""
    return [event(number) for number in range(first, last + 1)]


def checkpoint(number: int, *, stream_seq: int, epoch: int = 0) -> Checkpoint:
    """Return the checkpoint of event `number` behind the fence `stream_seq`."""
    position = Position(token=token(number), epoch=Epoch(epoch))
    return Checkpoint(position=position, stream_seq=StreamSeq(stream_seq))
