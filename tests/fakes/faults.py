"""What goes wrong on a fake, and when: at most one fault a call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

__all__ = ["Faults", "Latency", "Script", "in_thread", "one_millisecond"]

_F = TypeVar("_F")

Faults = Callable[[], _F | None]
"""Asked once a call: what goes wrong with it, or None."""

Latency = Callable[[], float]
"""How long a call takes, in seconds."""


class Script(Generic[_F]):
    """Faults for the calls to come, in order; None lets a call pass, as does a script's end."""

    def __init__(self, *faults: _F | None) -> None:
        self._faults = deque(faults)

    def __call__(self) -> _F | None:
        """Return the next call's fault."""
        return self._faults.popleft() if self._faults else None


def one_millisecond() -> float:
    """Return the latency of a server next door."""
    return 0.001


async def in_thread(latency: Latency) -> None:
    """Take time like a blocking call in a thread.

    Cancellation: takes effect before it or, like a thread that isn't abandoned, not at all.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    with trio.CancelScope(shield=True):
        await trio.sleep(latency())
