"""The one formula for waiting before another attempt."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mnc.backoff import Backoff

_backoffs = st.builds(
    lambda first_s, factor: Backoff(first_s=first_s, max_s=first_s * factor),
    st.floats(0.001, 100),
    st.floats(1, 10_000),
)
_seeds = st.integers(0, 2**32)


class _Highest(random.Random):
    """Draws the upper bound."""

    def uniform(self, _a: float, b: float) -> float:
        return b


def _ceiling_s(backoff: Backoff, attempt: int) -> float:
    return backoff.delay_s(attempt, _Highest())


@given(_backoffs, st.integers(1, 10**9), _seeds)
def test_a_delay_is_in_the_upper_half_of_its_ceiling(
    backoff: Backoff, attempt: int, seed: int
) -> None:
    """A delay is never over the maximum, never under half its ceiling, and never overflows."""
    delay_s = backoff.delay_s(attempt, random.Random(seed))
    assert 0 < delay_s <= backoff.max_s
    assert _ceiling_s(backoff, attempt) / 2 <= delay_s <= _ceiling_s(backoff, attempt)


@given(_backoffs, st.integers(1, 200))
def test_ceilings_double_up_to_the_maximum(backoff: Backoff, attempt: int) -> None:
    """Each ceiling is twice the one before it, until the maximum is reached for good."""
    assert _ceiling_s(backoff, 1) == backoff.first_s
    doubled = min(2 * _ceiling_s(backoff, attempt), backoff.max_s)
    assert _ceiling_s(backoff, attempt + 1) == doubled


def test_delays_differ() -> None:
    """Jitter keeps instances from coming back together."""
    backoff = Backoff(first_s=1, max_s=1)
    rng = random.Random(1)
    assert len({backoff.delay_s(1, rng) for _ in range(100)}) == 100
