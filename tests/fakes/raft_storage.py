"""A disk in memory that survives a restart of what writes to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mnc.cluster.messages import GroupId
from mnc.errors import ClusterError
from mnc.raft import NodeId, Persisted, Ready, Snapshot

__all__ = ["FakeDisk", "FakeStorage"]


@dataclass(slots=True)
class FakeDisk:
    """What survives; a test may look at it, and let it fail.

    Invariants: `writes` counts what was stored.
    """

    node: NodeId
    group: GroupId | None = None
    persisted: Persisted = field(default_factory=Persisted)
    writes: int = 0
    fails: bool = False
    """Whether the next write ends with an error, and stores nothing."""


class FakeStorage:
    """A `Storage` on a `FakeDisk`; a restart makes another one on the same disk."""

    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk
        self._trusted = True

    @property
    def node(self) -> NodeId:
        """See `Storage.node`."""
        return self._disk.node

    @property
    def group(self) -> GroupId | None:
        """See `Storage.group`."""
        return self._disk.group

    def load(self) -> Persisted:
        """See `Storage.load`."""
        self._require_trust()
        return self._disk.persisted

    def enter(self, group: GroupId, persisted: Persisted) -> None:
        """See `Storage.enter`."""
        self._write(persisted)
        self._disk.group = group

    def save(self, ready: Ready) -> None:
        """See `Storage.save`."""
        self._require_trust()
        if ready.hard_state is None and ready.snapshot is None and not ready.entries:
            return
        stored = self._disk.persisted
        if ready.hard_state is not None:
            stored = replace(stored, hard_state=ready.hard_state)
        if ready.snapshot is not None:
            stored = replace(stored, snapshot=ready.snapshot, entries=())
        if ready.entries:
            kept = ready.entries[0].index - stored.snapshot.index - 1
            stored = replace(stored, entries=stored.entries[:kept] + ready.entries)
        self._write(stored)

    def compact(self, snapshot: Snapshot) -> None:
        """See `Storage.compact`."""
        stored = self._disk.persisted
        entries = tuple(entry for entry in stored.entries if entry.index > snapshot.index)
        self._write(replace(stored, snapshot=snapshot, entries=entries))

    def _write(self, persisted: Persisted) -> None:
        self._require_trust()
        if self._disk.fails:
            self._trusted = False
            raise ClusterError("the fake disk fails", remedy="start again")
        self._disk.persisted = persisted
        self._disk.writes += 1

    def _require_trust(self) -> None:
        if not self._trusted:
            raise ClusterError("the fake disk has failed before", remedy="start again")
