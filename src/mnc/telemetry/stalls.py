"""How late the event loop is: the longest time for which this process could do nothing else.

Theory of operation. trio tells when a turn of the loop begins and ends, and of each step of a task
in it, from one await to the next. While a turn lasts, Raft's ticks and every answer wait; when one
step took most of it, its task is named. Between two turns the loop waits until something is due; if
it goes on later than that, a thread kept the interpreter's lock, as decoding a large document in C
does, or the machine gave the process no time. Nothing is asked for that trio doesn't do anyway, so
a process at rest is left at rest.
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

_WINDOW_S = 0.05
"""The longest stall in so much time is told: a Raft tick by default, what is shorter is nothing to
it."""

NO_STEP: Final = "no task: a thread kept the interpreter's lock, or the machine was busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A time for which the event loop didn't turn."""

    seconds: float
    during: str
    """The task whose step took most of it, or NO_STEP."""


_NONE: Final = Stall(seconds=0.0, during=NO_STEP)


class StallWatch(trio.abc.Instrument):
    """Measures stalls while it runs.

    Invariants: `longest` is never shorter than before.
    """

    def __init__(
        self, observe: Callable[[float], None], *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Prepare. `observe` gets the longest stall in seconds, up to twenty times a second."""
        self._observe = observe
        self._clock = clock
        now = clock()
        self._turn_began_at = self._step_began_at = self._due_at = self._window_began_at = now
        self._longest_step = _NONE
        """Of the turn."""
        self._longest_in_window = _NONE
        self.longest = _NONE
        """The longest stall so far."""

    async def run(self) -> None:
        """Measure until cancelled.

        Cancellation: nothing is measured any more.
        """
        self._turn_began_at = self._step_began_at = self._clock()  # trio tells of their ends only
        trio.lowlevel.add_instrument(self)
        try:
            await trio.sleep_forever()
        finally:
            trio.lowlevel.remove_instrument(self)

    def snapshot(self) -> dict[str, object]:
        """Return what `/status` shows."""
        return {"longest_s": round(self.longest.seconds, 4), "during": self.longest.during}

    # --- called by trio -------------------------------------------------------------------------

    def before_task_step(self, task: Task) -> None:
        """Hear that a step begins."""
        del task
        self._step_began_at = self._clock()

    def after_task_step(self, task: Task) -> None:
        """Hear that a step has ended."""
        took_s = self._clock() - self._step_began_at
        if took_s > self._longest_step.seconds:
            self._longest_step = Stall(seconds=took_s, during=task.name)

    def before_io_wait(self, timeout: float) -> None:
        """Hear that a turn has ended, and in how many seconds the next is due at the latest."""
        now = self._clock()
        took_s, step = now - self._turn_began_at, self._longest_step
        self._note(took_s, step.during if step.seconds > took_s / 2 else NO_STEP)
        self._longest_step = _NONE
        self._due_at = now + timeout

    def after_io_wait(self, timeout: float) -> None:
        """Hear that a turn begins."""
        del timeout
        now = self._turn_began_at = self._clock()
        self._note(now - self._due_at, NO_STEP)
        if now - self._window_began_at >= _WINDOW_S:
            self._observe(self._longest_in_window.seconds)
            if self._longest_in_window.seconds > self.longest.seconds:
                self.longest = self._longest_in_window
            self._window_began_at, self._longest_in_window = now, _NONE

    def _note(self, seconds: float, during: str) -> None:
        if seconds > self._longest_in_window.seconds:
            self._longest_in_window = Stall(seconds=seconds, during=during)
