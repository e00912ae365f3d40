"""When a lane that failed starts again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import assert_never

from mnc.backoff import Backoff
from mnc.errors import MncError, Recovery

__all__ = ["RestartPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """Exponential backoff with jitter, forgotten after a healthy while."""

    backoff: Backoff = Backoff(first_s=0.1, max_s=30.0)  # noqa: RUF009 - frozen
    healthy_after_s: float = 60.0
    """A lane that ran this long before it failed starts from the shortest delay again."""

    def attempt(self, *, previous: int, ran_s: float) -> int:
        """Return the number of this failure in its row, counted from 1."""
        return 1 if ran_s >= self.healthy_after_s else previous + 1

    def delay_s(self, error: MncError, *, attempt: int, rng: random.Random) -> float | None:
        """Return how long to wait before the next start in seconds, or None for never."""
        match error.recovery:
            case Recovery.RETRY:
                return self.backoff.delay_s(attempt, rng)
            case Recovery.WAIT:
                return self.backoff.max_s * rng.uniform(0.5, 1.0)
            case Recovery.STOP:
                return None
            case _:
                assert_never(error.recovery)
