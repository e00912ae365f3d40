"""The port of the checkpoint stage, in memory.

A write that was sent lands at a time of its own, also when its sender was cancelled meanwhile: the
thread that writes is abandoned then. Landing happens when anybody next looks, in the order of the
times.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count

import trio
from tests.fakes.faults import Faults, Latency, Script, one_millisecond

from mnc.errors import CheckpointError
from mnc.model import Checkpoint, Namespace

__all__ = ["FakeCheckpointStore", "Unacknowledged", "WriteFault"]


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """The write is done, and fails all the same: its majority didn't answer in time."""

    error: CheckpointError


WriteFault = CheckpointError | Unacknowledged
"""An error on its own means that nothing is written."""


@dataclass(order=True)
class _Write:
    """A write on its way, and what was stored when it had landed."""

    lands_at: float
    number: int
    namespace: Namespace = field(compare=False)
    checkpoint: Checkpoint = field(compare=False)
    only_first: bool = field(compare=False)
    stored: Checkpoint | None = field(default=None, compare=False)


class FakeCheckpointStore:
    """Checkpoints in a dictionary that never go back."""

    def __init__(self, *, latency: Latency = one_millisecond) -> None:
        self.load_faults: Faults[CheckpointError] = Script()
        self.write_faults: Faults[WriteFault] = Script()
        self.writes: list[Checkpoint] = []
        """What was written, in order."""
        self._checkpoints: dict[Namespace, Checkpoint] = {}
        self._latency = latency
        self._sent: list[_Write] = []
        self._numbers = count()

    # --- the port --------------------------------------------------------------------------------

    async def load(self, namespace: Namespace) -> Checkpoint | None:
        """Return a collection's checkpoint, or None."""
        fault = self.load_faults()
        await trio.sleep(self._latency())
        if fault is not None:
            raise fault
        return self.checkpoints.get(namespace)

    async def watched(self, database: str) -> Collection[str]:
        """Return the names that have a checkpoint."""
        fault = self.load_faults()
        await trio.sleep(self._latency())
        if fault is not None:
            raise fault
        return [each.collection for each in self.checkpoints if each.database == database]

    async def create(self, namespace: Namespace, checkpoint: Checkpoint) -> Checkpoint:
        """Store the first checkpoint unless there is one."""
        stored = await self._write(namespace, checkpoint, only_first=True)
        assert stored is not None
        return stored

    async def save(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        """Store a checkpoint unless one as late is there."""
        await self._write(namespace, checkpoint, only_first=False)

    # --- what a test does and sees ---------------------------------------------------------------

    @property
    def checkpoints(self) -> Mapping[Namespace, Checkpoint]:
        """What is stored now."""
        self._land()
        return self._checkpoints

    def drop(self) -> None:
        """Remove all that is stored; what was sent may still land."""
        self._land()
        self._checkpoints.clear()

    # --- the server ------------------------------------------------------------------------------

    async def _write(
        self, namespace: Namespace, checkpoint: Checkpoint, *, only_first: bool
    ) -> Checkpoint | None:
        await trio.lowlevel.checkpoint_if_cancelled()
        fault = self.write_faults()
        latency_s = self._latency()
        lands_at = trio.current_time() + latency_s / 2
        write = _Write(lands_at, next(self._numbers), namespace, checkpoint, only_first)
        if not isinstance(fault, CheckpointError):
            heapq.heappush(self._sent, write)
        await trio.sleep(latency_s)
        self._land()
        match fault:
            case CheckpointError():
                raise fault
            case Unacknowledged(error):
                raise error
            case None:
                return write.stored

    def _land(self) -> None:
        now = trio.current_time()
        while self._sent and self._sent[0].lands_at <= now:
            write = heapq.heappop(self._sent)
            stored = self._checkpoints.get(write.namespace)
            if stored is None or (
                not write.only_first and stored.position.token < write.checkpoint.position.token
            ):
                self._store(write.namespace, write.checkpoint)
            write.stored = self._checkpoints[write.namespace]

    def _store(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        self._checkpoints[namespace] = checkpoint
        self.writes.append(checkpoint)
