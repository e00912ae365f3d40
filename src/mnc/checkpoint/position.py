"""Where a lane starts, from what the stream and the token document say. Pure.

The position marker moves in the same atomic step as the events, so it is never wrong. The token
document is written afterwards and may lag. It is ahead of the marker in one case: nothing was
published since, and the reader went past events that don't concern the collection (idle progress).
It says so by naming the marker's sequence that it was written for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from mnc.errors import ForeignPositionError
from mnc.model import Checkpoint, Position, ResumeToken, Snapshot, StreamSeq

__all__ = ["LostHistory", "begin_snapshot", "check_past", "renewed", "resume_from"]

LostHistory = Literal["stop", "snapshot", "now"]
"""What may be done with a position to which the oplog no longer reaches back."""


def resume_from(marker: Checkpoint | None, stored: Checkpoint | None) -> Checkpoint | None:
    """Choose what a lane resumes from; None when the collection was never watched.

    Without a marker (nothing published yet, or the stream was purged or made anew) the document
    counts, behind a fence of 0.
    """
    if marker is None:
        return (
            None
            if stored is None
            else Checkpoint(position=stored.position, stream_seq=StreamSeq(0))
        )
    if (
        stored is not None
        and stored.stream_seq == marker.stream_seq
        and stored.position.token > marker.position.token
    ):
        return stored
    return marker


def begin_snapshot(position: Position) -> Position:
    """Return the position at which a snapshot begins that is taken before going on."""
    snapshot = Snapshot(since=position.token)
    return replace(position, token=snapshot.token, snapshot=snapshot)


def check_past(lost: ResumeToken, *, now: ResumeToken) -> None:
    """Raise ForeignPositionError unless `lost`, which the oplog doesn't have, lies in the past.

    One that is to come is another cluster's, and nothing may take its place.
    """
    if now <= lost:
        raise ForeignPositionError(
            "the position is lost, and lies in the future of this MongoDB cluster",
            remedy="check that MONGO_URI names the cluster that the stream was filled from",
        )


def renewed(lost: Position, now: ResumeToken, *, policy: Literal["snapshot", "now"]) -> Position:
    """Return what takes the place of a position that is lost, `now` being a fresh token.

    A snapshot that has been under way for too long begins again, or goes on: the documents that it
    has still to read are worth having, whatever became of the changes meanwhile.
    """
    if policy == "snapshot":
        return begin_snapshot(replace(lost, token=now, snapshot=None))
    if lost.snapshot is None:
        return replace(lost, token=now)
    snapshot = replace(lost.snapshot, since=now)
    return replace(lost, token=snapshot.token, snapshot=snapshot)
