"""What a position marker means for a batch whose outcome isn't known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.values import checkpoint, events

from mnc.model import Checkpoint
from mnc.publish.fence import Foreign, NotStored, Stored, Verdict, reconcile

_BATCH = events(11, 14)


@pytest.mark.parametrize(
    ("reached", "marker", "expected"),
    [
        # Nothing was ever published.
        (checkpoint(10, stream_seq=0), None, NotStored()),
        # The marker is where it was left.
        (checkpoint(10, stream_seq=7), checkpoint(10, stream_seq=7), NotStored()),
        # The same after idle progress, which moves the position and not the marker.
        (checkpoint(10, stream_seq=7), checkpoint(3, stream_seq=7), NotStored()),
        # It names one of the events: those up to it are stored.
        (
            checkpoint(10, stream_seq=7),
            checkpoint(14, stream_seq=12),
            Stored(reached=checkpoint(14, stream_seq=12), rest=[]),
        ),
        (
            checkpoint(10, stream_seq=7),
            checkpoint(12, stream_seq=10),
            Stored(reached=checkpoint(12, stream_seq=10), rest=events(13, 14)),
        ),
        (
            checkpoint(10, stream_seq=7),
            checkpoint(11, stream_seq=9),
            Stored(reached=checkpoint(11, stream_seq=9), rest=events(12, 14)),
        ),
        (
            checkpoint(10, stream_seq=0),
            checkpoint(14, stream_seq=5),
            Stored(reached=checkpoint(14, stream_seq=5), rest=[]),
        ),
        # The same after idle progress.
        (
            checkpoint(10, stream_seq=7, epoch=1),
            checkpoint(13, stream_seq=12, epoch=1),
            Stored(reached=checkpoint(13, stream_seq=12, epoch=1), rest=events(14, 14)),
        ),
        # The position is an event's, which says no epoch.
        (
            checkpoint(10, stream_seq=7, epoch=1),
            checkpoint(14, stream_seq=12),
            Stored(reached=checkpoint(14, stream_seq=12), rest=[]),
        ),
        # A later owner has stored the same events, or none yet.
        (checkpoint(10, stream_seq=7, epoch=1), checkpoint(13, stream_seq=12, epoch=2), Foreign()),
        (checkpoint(10, stream_seq=7, epoch=1), checkpoint(10, stream_seq=8, epoch=2), Foreign()),
        # The marker is gone: the stream was purged or made anew.
        (checkpoint(10, stream_seq=7), None, Foreign()),
        # It has our sequence and a position that we never gave it: a stream made anew.
        (checkpoint(10, stream_seq=7), checkpoint(11, stream_seq=7), Foreign()),
        (checkpoint(10, stream_seq=7), checkpoint(20, stream_seq=7), Foreign()),
        # Another writer went beyond the batch, stands between its events, or wrote it all again.
        (checkpoint(10, stream_seq=7), checkpoint(15, stream_seq=13), Foreign()),
        (checkpoint(10, stream_seq=0), checkpoint(20, stream_seq=5), Foreign()),
        (checkpoint(10, stream_seq=7), checkpoint(10, stream_seq=9), Foreign()),
        (checkpoint(10, stream_seq=7), checkpoint(9, stream_seq=9), Foreign()),
    ],
)
def test_the_marker_says_what_was_stored(
    reached: Checkpoint, marker: Checkpoint | None, expected: Verdict
) -> None:
    """Every case has one verdict."""
    assert reconcile(reached, _BATCH, marker) == expected


@given(st.integers(1, 20), st.data())
def test_stored_and_rest_are_the_whole_batch(count: int, data: st.DataObject) -> None:
    """Whatever prefix was stored, the rest is what follows it, and nothing else."""
    batch = events(1, count)
    stored = data.draw(st.integers(1, count))
    marker = checkpoint(stored, stream_seq=stored + 1)
    verdict = reconcile(checkpoint(0, stream_seq=0), batch, marker)
    assert isinstance(verdict, Stored)
    assert verdict.reached == marker
    assert [*batch[:stored], *verdict.rest] == batch
