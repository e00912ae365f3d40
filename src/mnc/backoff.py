"""How long to wait before trying again: exponential, with jitter. Pure.

The retry loops here change state between attempts (a marker is read, a position is loaded anew), so
what they need of a retry library is this one formula.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that double from `first_s` up to `max_s`, each drawn from its upper half.

    The jitter keeps many lanes, or many instances, from coming back at the same instant.
    """

    first_s: float
    max_s: float

    def delay_s(self, attempt: int, rng: random.Random) -> float:
        """Return the delay before attempt number `attempt`, counted from 1, in seconds."""
        return self.longest_s(attempt) * rng.uniform(0.5, 1.0)

    def longest_s(self, attempt: int) -> float:
        """Return the longest that `delay_s` can be for this attempt."""
        # The exponent is bounded: a float overflows at about the thousandth attempt.
        return min(self.max_s, self.first_s * 2.0 ** min(attempt - 1, 64))
