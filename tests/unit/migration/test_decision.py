"""Where a collection goes on after an earlier connector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.values import checkpoint, token

from mnc.errors import PositionLostError
from mnc.migration.decision import (
    Decision,
    EarlierTokens,
    Kept,
    Refused,
    Standing,
    TakeOver,
    candidates,
    decide,
)

_numbers = st.none() | st.integers(1, 6)


def standing(
    *,
    newest: int | None = None,
    published: int | None = None,
    event: int | None = None,
    own: int | None = None,
    unreadable: int = 0,
) -> Standing:
    """Return where a collection stands, in the numbers of events."""
    return Standing(
        collection="users",
        earlier=EarlierTokens(
            place="test.tokens",
            documents=7,
            unreadable=unreadable,
            newest=None if newest is None else token(newest),
        ),
        published=None if published is None else token(published),
        event=None if event is None else checkpoint(event, stream_seq=event),
        own=None if own is None else checkpoint(own, stream_seq=9),
    )


def decided(found: Standing, *, oldest: int = 0) -> Decision:
    """Decide with an oplog that reaches back to event `oldest`."""
    lost = {
        position: PositionLostError("gone")
        for position in candidates([found])
        if position < token(oldest)
    }
    return decide(found, lost)


@pytest.mark.parametrize(
    ("found", "oldest", "start"),
    [
        # Nothing of it in the stream: the token counts.
        (standing(newest=3), 0, 3),
        # It was published without its token.
        (standing(newest=3, event=4), 0, 4),
        # The token was stored for what was never published, or is another collection's.
        (standing(newest=3, event=1), 0, 1),
        # It was quiet for longer than the oplog lasts.
        (standing(newest=3, event=1), 2, 3),
        # In a stream of its own, an event may stand that has no token.
        (standing(newest=3, published=4), 0, 4),
        (standing(newest=3, published=2), 0, 3),
        # mnc has begun after an event that the oplog has lost since.
        (standing(newest=3, event=1, own=1), 2, 3),
    ],
)
def test_collection_goes_on_after_what_was_published(
    found: Standing, oldest: int, start: int
) -> None:
    """The stream's last event counts, and the token where the stream doesn't say it."""
    decision = decided(found, oldest=oldest)
    assert isinstance(decision, TakeOver)
    assert decision.token == token(start)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (standing(newest=3, unreadable=2), "2 of the 7 documents in test.tokens"),
        (standing(), "no resume token in test.tokens"),
        (standing(event=4), "no resume token in test.tokens"),
        # The oplog reaches back to event 5.
        (standing(newest=3), "gone"),
        (standing(newest=3, event=1), "gone"),
        (standing(newest=3, event=4, own=4), "gone"),
        # mnc was started at "now" before the take-over: 4 and 5 are nowhere.
        (standing(newest=3, own=6), "mnc watches it already"),
    ],
)
def test_what_would_lose_events_is_refused(found: Standing, words: str) -> None:
    """A person decides about it, and is told what to do."""
    decision = decided(found, oldest=5 if words == "gone" else 0)
    assert isinstance(decision, Refused)
    assert words in decision.found
    assert decision.remedy


def test_position_of_mnc_in_the_future_is_not_moved_back() -> None:
    """It is of another MongoDB, and so may the stream be: a person looks."""
    found = standing(newest=3, own=6)
    future = PositionLostError("in the future", remedy="check MONGO_URI")
    assert decide(found, {token(6): future}) == Refused(
        found="in the future", remedy="check MONGO_URI"
    )


@pytest.mark.parametrize(
    "found",
    [
        standing(newest=3, own=3),
        standing(newest=3, own=2),
        standing(newest=3, event=4, own=4),
        standing(newest=3, event=4, own=5),
        standing(newest=3, event=1, own=1),
    ],
)
def test_position_of_mnc_that_is_as_good_is_kept(found: Standing) -> None:
    """What was taken over before stays as it is, and so does what mnc has reached since."""
    assert isinstance(decided(found), Kept)


@given(newest=_numbers, published=_numbers, event=_numbers, own=_numbers, oldest=st.integers(0, 7))
def test_no_event_of_the_stream_is_repeated_and_none_lost_is_started_from(
    newest: int | None, published: int | None, event: int | None, own: int | None, oldest: int
) -> None:
    """Whatever is found, a take-over begins within the oplog, and not before the last event."""
    found = standing(newest=newest, published=published, event=event, own=own)
    decision = decided(found, oldest=oldest)
    if isinstance(decision, TakeOver):
        assert decision.token >= token(oldest)
        assert event is None or decision.token >= token(event)


def test_no_token_is_in_what_is_said() -> None:
    """Tokens end with documents' keys, which don't belong in messages."""
    for found in (standing(newest=3), standing(newest=3, event=4), standing(newest=3, own=5)):
        decision = decided(found)
        assert token(1).data[:16] not in decision.found
        assert "2023-11-14 22:13:20 UTC" in decision.found
