"""Where a lane starts, from what the stream and the token document say. Pure.

The position marker moves in the same atomic step as the events, so it is never wrong. The token
document is written afterwards and may lag. It is ahead of the marker in one case: nothing was
published since, and the reader went past events that don't concern the collection (idle progress).
It says so by naming the marker's sequence that it was written for.
"""

from __future__ import annotations

from mnc.model import Checkpoint, StreamSeq

__all__ = ["resume_from"]


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
