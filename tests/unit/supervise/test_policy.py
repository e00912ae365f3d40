"""When a lane that failed starts again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnc.backoff import Backoff
from mnc.errors import (
    FenceLostError,
    ForeignPositionError,
    MncError,
    PositionLostError,
    Recovery,
    SinkUnavailableError,
    StreamFullError,
)
from mnc.supervise.policy import RestartPolicy

_POLICY = RestartPolicy(backoff=Backoff(first_s=0.1, max_s=30.0), healthy_after_s=60.0)

_seeds = st.integers(0, 2**32)


@given(st.integers(1, 10**6), _seeds)
def test_what_heals_by_itself_is_retried_with_backoff(attempt: int, seed: int) -> None:
    """A passing failure waits as the backoff says for its attempt."""
    delay_s = _POLICY.delay_s(FenceLostError("rival"), attempt=attempt, rng=random.Random(seed))
    assert delay_s == _POLICY.backoff.delay_s(attempt, random.Random(seed))


@given(st.integers(1, 10**6), _seeds)
def test_server_that_is_away_is_asked_every_few_seconds(attempt: int, seed: int) -> None:
    """However long an outage lasted, the lane is back within two seconds of its end."""
    delay_s = _POLICY.delay_s(
        SinkUnavailableError("away"), attempt=attempt, rng=random.Random(seed)
    )
    assert delay_s is not None
    assert 0 < delay_s <= 2


@given(st.integers(1, 10**6), _seeds)
def test_what_a_person_heals_is_retried_slowly(attempt: int, seed: int) -> None:
    """A refusal waits about the longest delay from its first attempt on."""
    delay_s = _POLICY.delay_s(StreamFullError("full"), attempt=attempt, rng=random.Random(seed))
    assert delay_s is not None
    assert _POLICY.backoff.max_s / 2 <= delay_s <= _POLICY.backoff.max_s


@given(st.integers(1, 10**6))
def test_what_would_lose_events_stays_down(attempt: int) -> None:
    """A lost position never starts by itself again."""
    error = PositionLostError("rolled over")
    assert _POLICY.delay_s(error, attempt=attempt, rng=random.Random(1)) is None


@given(st.integers(1, 10**6), _seeds)
def test_a_lost_position_that_may_be_given_up_is_tried_again(attempt: int, seed: int) -> None:
    """With permission the lane starts again, later each time; no other lasting error does."""
    policy = RestartPolicy(renews_lost_positions=True)
    delay_s = policy.delay_s(
        PositionLostError("rolled over"), attempt=attempt, rng=random.Random(seed)
    )
    assert delay_s == policy.backoff.delay_s(attempt, random.Random(seed))
    foreign = ForeignPositionError("in the future")
    assert policy.delay_s(foreign, attempt=attempt, rng=random.Random(seed)) is None


@pytest.mark.parametrize("recovery", Recovery)
def test_every_recovery_is_decided(recovery: Recovery) -> None:
    """There is an answer for each way in which an error may heal."""
    error = type("_Error", (MncError,), {"recovery": recovery})("made up")
    delay_s = _POLICY.delay_s(error, attempt=1, rng=random.Random(1))
    assert (delay_s is None) == (recovery is Recovery.STOP)


@given(st.integers(1, 1000), st.floats(0, 1e6))
def test_attempts_count_from_the_last_healthy_run(previous: int, ran_s: float) -> None:
    """A failure is the first of its row after a minute, or ten times the delay before it."""
    healthy_after_s = min(60, 10 * _POLICY.backoff.longest_s(previous))
    attempt = _POLICY.attempt(FenceLostError("rival"), previous=previous, ran_s=ran_s)
    assert attempt == (1 if ran_s >= healthy_after_s else previous + 1)


def test_lane_that_fails_at_once_every_time_slows_down() -> None:
    """Failures right after a start reach the longest delay; those of a lane that works don't."""

    def delays_s(ran_s: float) -> list[float]:
        attempts = [0]
        for _ in range(20):
            error = FenceLostError("rival")
            attempts.append(_POLICY.attempt(error, previous=attempts[-1], ran_s=ran_s))
        return [_POLICY.backoff.longest_s(attempt) for attempt in attempts[1:]]

    assert delays_s(0.5)[-1] == 30
    assert max(delays_s(5)) < 1
