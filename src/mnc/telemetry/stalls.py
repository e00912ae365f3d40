"""How late the event loop is: the longest time for which this process could do nothing else.

Theory of operation. A task sleeps for a little while and looks how much later than asked it runs
again; while it waits, Raft's ticks and every answer wait too. There are two causes. Either one step
of a task, from one await to the next, took long: trio tells of each step, and the longest is named.
Or no step did: then a thread kept the interpreter's lock, as decoding a large document in C does,
or the machine gave the process no time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trio.lowlevel import Task

__all__ = ["NO_STEP", "Stall", "StallWatch"]

_INTERVAL_S = 0.05
"""A Raft tick by default: what is shorter is nothing to it. Twenty looks a second cost half a per
cent of a core."""

NO_STEP: Final = "no task: a thread kept the interpreter's lock, or the machine was busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A time for which the event loop didn't turn."""

    seconds: float
    during: str
    """The task whose step took most of it, or NO_STEP."""


class StallWatch(trio.abc.Instrument):
    """Measures stalls while it runs.

    Invariants: `longest` is never shorter than before.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        """Prepare. `observe` gets each lateness in seconds, about twenty a second."""
        self._observe = observe
        self._step_began_at = 0.0
        self._longest_step = Stall(seconds=0.0, during=NO_STEP)
        """Of the steps since the last look."""
        self.longest = Stall(seconds=0.0, during=NO_STEP)
        """The longest stall so far."""

    async def run(self) -> None:
        """Measure until cancelled.

        Cancellation: nothing is measured any more.
        """
        self._step_began_at = time.perf_counter()  # trio tells of this step's end only
        trio.lowlevel.add_instrument(self)
        try:
            while True:
                due = trio.current_time() + _INTERVAL_S
                await trio.sleep_until(due)
                self._note(max(trio.current_time() - due, 0.0))
        finally:
            trio.lowlevel.remove_instrument(self)

    def snapshot(self) -> dict[str, object]:
        """Return what `/status` shows."""
        return {"longest_s": round(self.longest.seconds, 4), "during": self.longest.during}

    def _note(self, late_s: float) -> None:
        self._observe(late_s)
        if late_s > self.longest.seconds:
            step = self._longest_step
            is_cause = step.seconds > late_s / 2
            self.longest = Stall(seconds=late_s, during=step.during if is_cause else NO_STEP)
        self._longest_step = Stall(seconds=0.0, during=NO_STEP)

    # --- called by trio, for every step of every task --------------------------------------------

    def before_task_step(self, task: Task) -> None:
        """Hear that a step begins."""
        del task
        self._step_began_at = time.perf_counter()

    def after_task_step(self, task: Task) -> None:
        """Hear that a step has ended."""
        took_s = time.perf_counter() - self._step_began_at
        if took_s > self._longest_step.seconds:
            self._longest_step = Stall(seconds=took_s, during=task.name)
