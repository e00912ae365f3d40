"""Fault scripts: what goes wrong, where and when, all drawn from a seed. Pure.

A script is a function of its seed and of the kinds of fault that it may draw, so the seed that a
report shows is enough to run it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.injection.faults import Fault

__all__ = ["FaultKind", "FaultScript", "Step", "generate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """A fault that may be drawn, and what ends it."""

    target: str
    draw: Callable[[random.Random], Fault]
    lasts_s: tuple[float, float]
    """The shortest and the longest time until `end`."""
    end: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A fault at its time."""

    at_s: float
    """Seconds since the script's beginning."""
    target: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.at_s:8.3f} s  {self.target}: {self.fault}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultScript:
    """Faults in the order of their times.

    Invariants: after the last step nothing is wrong any more.
    """

    seed: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join((f"fault script of seed {self.seed}", *map(str, self.steps)))


def generate(
    kinds: Sequence[FaultKind],
    *,
    seed: int,
    faults: int,
    pause_s: tuple[float, float] = (0.1, 0.5),
) -> FaultScript:
    """Draw `faults` faults of `kinds`, one after the other, each ended before the next begins.

    They come in random order, none a second time before all have come once. The time between an end
    and the next beginning lies between the two numbers of `pause_s`.
    """
    rng = random.Random(seed)
    now_s = 0.0
    steps: list[Step] = []
    drawn: list[FaultKind] = []
    for _ in range(faults):
        drawn = drawn or rng.sample(kinds, len(kinds))
        kind = drawn.pop()
        now_s += rng.uniform(*pause_s)
        steps.append(Step(at_s=now_s, target=kind.target, fault=kind.draw(rng)))
        now_s += rng.uniform(*kind.lasts_s)
        steps.append(Step(at_s=now_s, target=kind.target, fault=kind.end))
    return FaultScript(seed=seed, steps=tuple(steps))
