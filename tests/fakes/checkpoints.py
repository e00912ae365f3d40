"""The port of the checkpoint stage, in memory."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fakes.faults import Faults, Latency, Script, in_thread, one_millisecond

from mnc.errors import CheckpointError
from mnc.model import Checkpoint, Namespace

__all__ = ["FakeCheckpointStore", "Unacknowledged", "WriteFault"]


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """The write is done, and fails all the same: its majority didn't answer in time."""

    error: CheckpointError


WriteFault = CheckpointError | Unacknowledged
"""An error on its own means that nothing is written."""


class FakeCheckpointStore:
    """Checkpoints in a dictionary, written like MongoDB's: never back, never abandoned midway."""

    def __init__(self, *, latency: Latency = one_millisecond) -> None:
        self.checkpoints: dict[Namespace, Checkpoint] = {}
        self.writes: list[Checkpoint] = []
        """What was written, in order."""
        self.load_faults: Faults[CheckpointError] = Script()
        self.write_faults: Faults[WriteFault] = Script()
        self._latency = latency

    async def load(self, namespace: Namespace) -> Checkpoint | None:
        """Return a collection's checkpoint, or None."""
        fault = self.load_faults()
        await in_thread(self._latency)
        if fault is not None:
            raise fault
        return self.checkpoints.get(namespace)

    async def create(self, namespace: Namespace, checkpoint: Checkpoint) -> Checkpoint:
        """Store the first checkpoint unless there is one."""
        fault = await self._reach_server()
        if namespace not in self.checkpoints:
            self._write(namespace, checkpoint)
        if fault is not None:
            raise fault.error
        return self.checkpoints[namespace]

    async def save(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        """Store a checkpoint unless one as late is there."""
        fault = await self._reach_server()
        stored = self.checkpoints.get(namespace)
        if stored is None or stored.position.token < checkpoint.position.token:
            self._write(namespace, checkpoint)
        if fault is not None:
            raise fault.error

    async def _reach_server(self) -> Unacknowledged | None:
        fault = self.write_faults()
        await in_thread(self._latency)
        if isinstance(fault, CheckpointError):
            raise fault
        return fault

    def _write(self, namespace: Namespace, checkpoint: Checkpoint) -> None:
        self.checkpoints[namespace] = checkpoint
        self.writes.append(checkpoint)
