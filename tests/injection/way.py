"""One direction of a link: its conditions, and what has passed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import trio
from tests.injection.faults import Cut, Delay, Hold, Swallow, Throttle, Trap
from trio_util import AsyncValue

__all__ = ["Flow", "Way"]

Flow = Literal["pass", "hold", "swallow"]
"""Whether bytes go on, wait, or vanish."""

_SLICE_S = 0.02
"""How long one slice takes a throttled link, and so how late the link may notice a change."""


@dataclass(slots=True, kw_only=True)
class Way:
    """The conditions of one direction, which all connections share, and what has passed."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = math.inf
    flow: AsyncValue[Flow] = field(default_factory=lambda: AsyncValue("pass"))
    cut: Cut | None = None
    cut_at: int = 0
    """The value of `passed` at which `cut` is due."""
    trap: Trap | None = None
    traps_sprung: int = 0
    passed: int = 0
    swallowed: int = 0
    _taken_until: float = 0.0
    """When a throttled link has room for the next slice."""

    def apply(self, fault: Delay | Throttle | Hold | Swallow) -> None:
        """Change a condition."""
        match fault:
            case Delay():
                self.delay_s, self.jitter_s = fault.delay_s, fault.jitter_s
            case Throttle():
                self.bytes_per_s = fault.bytes_per_s
            case Hold():
                self.flow.value = "hold"
            case Swallow():
                self.flow.value = "swallow"

    def heal(self) -> None:
        """Forget all conditions."""
        self.delay_s = self.jitter_s = 0.0
        self.bytes_per_s = math.inf
        self._taken_until = 0.0
        self.cut = self.trap = None
        self.flow.value = "pass"

    def before_trap(self, end: bytes, piece: memoryview) -> memoryview:
        """Return what of `piece` is before the trap, on a connection whose last bytes are `end`."""
        if self.trap is None:
            return piece
        begun = end[1 - len(self.trap.pattern) :]
        index = (begun + piece).find(self.trap.pattern)
        return piece if index < 0 else piece[: max(index - len(begun), 0)]

    def spring(self) -> None:
        """Let the trap snap."""
        self.trap = None
        self.traps_sprung += 1
        self.flow.value = "hold"

    async def pace(self, data: memoryview) -> memoryview:
        """Wait as long as the link takes for a piece of `data`, and return the piece."""
        if self.bytes_per_s == math.inf:
            return data
        piece = data[: max(1, round(self.bytes_per_s * _SLICE_S))]
        begins_at = max(self._taken_until, trio.current_time())
        self._taken_until = begins_at + len(piece) / self.bytes_per_s
        await trio.sleep_until(self._taken_until)
        return piece
