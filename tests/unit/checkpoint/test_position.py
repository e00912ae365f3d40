"""Where a lane starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.values import checkpoint

from mnc.checkpoint.position import resume_from
from mnc.model import Checkpoint

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
