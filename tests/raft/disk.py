"""A disk that loses what was not synced."""

from __future__ import annotations

import random

from mnc.raft import Persisted, Ready, Snapshot

__all__ = ["SimulatedDisk"]


class SimulatedDisk:
    """Holds what a node has stored.

    A Ready is written in its own order and is safe at `sync`. A crash before that keeps any
    beginning of it: the parts that were written first, also some of the entries.
    """

    __slots__ = ("_entries", "_hard_state", "_snapshot", "pending")

    def __init__(self, persisted: Persisted) -> None:
        self._hard_state = persisted.hard_state
        self._snapshot = persisted.snapshot
        self._entries = list(persisted.entries)
        self.pending: Ready | None = None
        """What is being written; None while everything is safe."""

    def write(self, ready: Ready) -> None:
        """Begin to store what `ready` wants stored."""
        self.pending = ready

    def sync(self) -> None:
        """Make the last write safe."""
        ready, self.pending = self.pending, None
        if ready is not None:
            self._store(ready, parts=2 + len(ready.entries))

    def crash(self, rng: random.Random) -> None:
        """Lose the last write, or its end, unless it was synced."""
        ready, self.pending = self.pending, None
        if ready is not None:
            self._store(ready, parts=rng.randint(0, 2 + len(ready.entries)))

    def compact(self, snapshot: Snapshot) -> None:
        """Store an own snapshot in place of the entries up to it, at once."""
        self._snapshot = snapshot
        self._entries = [entry for entry in self._entries if entry.index > snapshot.index]

    def read(self) -> Persisted:
        """Return what is stored."""
        return Persisted(
            hard_state=self._hard_state, snapshot=self._snapshot, entries=tuple(self._entries)
        )

    def _store(self, ready: Ready, *, parts: int) -> None:
        if ready.hard_state is not None and parts >= 1:
            self._hard_state = ready.hard_state
        if ready.snapshot is not None and parts >= 2:
            self._snapshot = ready.snapshot
            self._entries = []
        entries = ready.entries[: max(0, parts - 2)]
        if entries:
            del self._entries[entries[0].index - self._snapshot.index - 1 :]
            self._entries.extend(entries)
