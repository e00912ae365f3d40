"""When a lane that failed starts again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import assert_never

from mnc.backoff import Backoff
from mnc.errors import MncError, PositionLostError, Recovery

__all__ = ["RestartPolicy"]

_RUN_PER_REST = 10
"""A lane is healthy that ran this much longer than it had rested before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """Exponential backoff with jitter, forgotten after a healthy while."""

    backoff: Backoff = Backoff(first_s=0.1, max_s=30.0)  # noqa: RUF009 - frozen
    reconnect: Backoff = Backoff(first_s=0.1, max_s=2.0)  # noqa: RUF009 - frozen
    """An attempt costs a server that is back next to nothing, and one that is away nothing."""
    healthy_after_s: float = 60.0
    """A lane that ran this long before it failed starts from the shortest delay again."""
    renews_lost_positions: bool = False
    """Whether a lane that starts again may give up a position that is lost."""

    def attempt(self, error: MncError, *, previous: int, ran_s: float) -> int:
        """Return the number of this failure in its row, of those that heal alike, from 1.

        Short delays are forgotten sooner: a lane that fails now and then, by faults that have
        nothing to do with each other, rests for a tenth of its time at most.
        """
        rested_s = self._backoff_of(error).longest_s(previous)
        healthy_after_s = min(self.healthy_after_s, _RUN_PER_REST * rested_s)
        return 1 if ran_s >= healthy_after_s else previous + 1

    def delay_s(self, error: MncError, *, attempt: int, rng: random.Random) -> float | None:
        """Return how long to wait before the next start in seconds, or None for never."""
        match error.recovery:
            case Recovery.RETRY | Recovery.RECONNECT:
                return self._backoff_of(error).delay_s(attempt, rng)
            case Recovery.WAIT:
                return self.backoff.max_s * rng.uniform(0.5, 1.0)
            case Recovery.STOP if not self._is_renewed(error):
                return None
            case Recovery.STOP:
                return self.backoff.delay_s(attempt, rng)
            case _:
                assert_never(error.recovery)

    def _is_renewed(self, error: MncError) -> bool:
        return self.renews_lost_positions and isinstance(error, PositionLostError)

    def _backoff_of(self, error: MncError) -> Backoff:
        return self.reconnect if error.recovery is Recovery.RECONNECT else self.backoff
