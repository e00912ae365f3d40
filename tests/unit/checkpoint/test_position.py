"""Where a lane starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.values import checkpoint, token

from mnc.checkpoint.position import begin_snapshot, renewed, resume_from
from mnc.model import Checkpoint, Position

_checkpoints = st.builds(
    lambda number, seq: checkpoint(number, stream_seq=seq), st.integers(1, 5), st.integers(1, 5)
)


@pytest.mark.parametrize(
    ("marker", "stored", "expected"),
    [
        (None, None, None),
        # Without a marker the document counts, behind a fence of 0.
        (None, checkpoint(3, stream_seq=0), checkpoint(3, stream_seq=0)),
        (None, checkpoint(3, stream_seq=9), checkpoint(3, stream_seq=0)),
        # The marker alone.
        (checkpoint(3, stream_seq=9), None, checkpoint(3, stream_seq=9)),
        # The document lags, or says the same.
        (checkpoint(3, stream_seq=9), checkpoint(2, stream_seq=7), checkpoint(3, stream_seq=9)),
        (checkpoint(3, stream_seq=9), checkpoint(3, stream_seq=9), checkpoint(3, stream_seq=9)),
        (checkpoint(3, stream_seq=9), checkpoint(2, stream_seq=9), checkpoint(3, stream_seq=9)),
        # Idle progress: the document was written for this very marker.
        (checkpoint(3, stream_seq=9), checkpoint(5, stream_seq=9), checkpoint(5, stream_seq=9)),
        # The document is ahead of another marker: it says nothing of what this one left out.
        (checkpoint(3, stream_seq=9), checkpoint(5, stream_seq=7), checkpoint(3, stream_seq=9)),
        (checkpoint(3, stream_seq=9), checkpoint(5, stream_seq=11), checkpoint(3, stream_seq=9)),
    ],
)
def test_the_position_is_the_newest_that_is_sure(
    marker: Checkpoint | None, stored: Checkpoint | None, expected: Checkpoint | None
) -> None:
    """The marker wins unless the document was written for it and is further on."""
    assert resume_from(marker, stored) == expected


@given(_checkpoints, st.none() | _checkpoints)
def test_the_fence_is_the_markers(marker: Checkpoint, stored: Checkpoint | None) -> None:
    """Where there is a marker, its sequence is the fence, and no event before it is read again."""
    reached = resume_from(marker, stored)
    assert reached is not None
    assert reached.stream_seq == marker.stream_seq
    assert reached.position.token >= marker.position.token


def test_a_lost_position_goes_on_from_now() -> None:
    """Its token is the fresh one; owner and fence aren't the position's to change."""
    lost = checkpoint(3, stream_seq=9, epoch=2).position
    assert renewed(lost, token(5), policy="now") == replace(lost, token=token(5))


def test_a_lost_position_may_begin_with_a_snapshot() -> None:
    """The change stream goes on from the fresh token once all documents are read."""
    lost = checkpoint(3, stream_seq=9, epoch=2).position
    again = renewed(lost, token(5), policy="snapshot")
    assert again == begin_snapshot(replace(lost, token=token(5)))
    assert again.snapshot is not None
    assert again.snapshot.since == token(5)
    assert again.token == again.snapshot.token


def test_a_snapshot_that_took_too_long_goes_on_or_begins_again() -> None:
    """Going on from now keeps what has been read; a snapshot anew reads all documents again."""
    begun = begin_snapshot(Position(token=token(3)))
    assert begun.snapshot is not None
    under_way = replace(begun.snapshot, documents=70, after="key")
    lost = replace(begun, token=under_way.token, snapshot=under_way)
    going_on = renewed(lost, token(5), policy="now").snapshot
    assert going_on == replace(under_way, since=token(5))
    assert renewed(lost, token(5), policy="snapshot") == begin_snapshot(Position(token=token(5)))
