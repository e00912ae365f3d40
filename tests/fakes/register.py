"""The port in which groups are founded, in memory.

A founding that was sent lands at a time of its own, also when its sender was cancelled meanwhile:
the thread that writes is abandoned then. Landing happens when anybody next looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio
from tests.fakes.checkpoints import Unacknowledged, WriteFault
from tests.fakes.faults import Faults, Latency, Script, one_millisecond

from mnc.cluster.formation import Founding
from mnc.errors import CheckpointError

__all__ = ["FakeFoundingRegister"]


@dataclass(eq=False)
class _Write:
    """A founding on its way, and what was stored when it had landed."""

    lands_at: float
    founding: Founding
    stored: Founding | None = None


class FakeFoundingRegister:
    """The foundings of one cluster."""

    def __init__(self, *, latency: Latency = one_millisecond) -> None:
        self.read_faults: Faults[CheckpointError] = Script()
        self.found_faults: Faults[WriteFault] = Script()
        self._foundings: list[Founding] = []
        self._latency = latency
        self._sent: list[_Write] = []

    # --- the port --------------------------------------------------------------------------------

    async def read(self) -> Founding | None:
        """Return the newest founding, or None."""
        fault = self.read_faults()
        await trio.sleep(self._latency())
        if fault is not None:
            raise fault
        return self.foundings[-1] if self.foundings else None

    async def found(self, founding: Founding) -> Founding:
        """Store a founding unless one as late is there; return what is stored then."""
        await trio.lowlevel.checkpoint_if_cancelled()
        fault = self.found_faults()
        latency_s = self._latency()
        write = _Write(trio.current_time() + latency_s / 2, founding)
        if not isinstance(fault, CheckpointError):
            self._sent.append(write)
        await trio.sleep(latency_s)
        self._land()
        match fault:
            case CheckpointError():
                raise fault
            case Unacknowledged(error):
                raise error
            case None:
                assert write.stored is not None
                return write.stored

    # --- what a test does and sees ---------------------------------------------------------------

    @property
    def foundings(self) -> list[Founding]:
        """Every founding that was stored, the newest last."""
        self._land()
        return self._foundings

    # --- the server ------------------------------------------------------------------------------

    def _land(self) -> None:
        now = trio.current_time()
        landing = [write for write in self._sent if write.lands_at <= now]
        self._sent = [write for write in self._sent if write.lands_at > now]
        for write in sorted(landing, key=lambda write: write.lands_at):
            stored = self._foundings
            if not stored or stored[-1].generation < write.founding.generation:
                stored.append(write.founding)
            write.stored = stored[-1]
