"""Disks of a member of the Raft group, fake and real, for the contract tests."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Protocol

from tests.fakes.raft_storage import FakeDisk, FakeStorage

from mnc.cluster.ports import Storage
from mnc.drivers.sqlite.storage import SqliteStorage
from mnc.raft import NodeId

__all__ = ["FakeRaftDisk", "RaftDisk", "SqliteRaftDisk"]


class RaftDisk(Protocol):
    """A disk, and what a test does to it."""

    def open(self) -> Storage:
        """Start a process on the disk, after ending the last one."""
        ...

    def fail(self) -> None:
        """Let the next write of the running process fail."""
        ...

    def writes(self) -> int:
        """Count what the running process has stored."""
        ...


class FakeRaftDisk:
    """The disk in memory."""

    def __init__(self) -> None:
        self._disk = FakeDisk(NodeId("fake"))

    def open(self) -> Storage:
        """See `RaftDisk.open`."""
        self._disk.fails = False
        return FakeStorage(self._disk)

    def fail(self) -> None:
        """See `RaftDisk.fail`."""
        self._disk.fails = True

    def writes(self) -> int:
        """See `RaftDisk.writes`."""
        return self._disk.writes


class SqliteRaftDisk:
    """A folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._storage: SqliteStorage | None = None

    @property
    def _database(self) -> sqlite3.Connection:
        assert self._storage is not None
        return self._storage._database

    def open(self) -> SqliteStorage:
        """See `RaftDisk.open`."""
        self.close()
        self._storage = SqliteStorage.open(self._path)
        return self._storage

    def fail(self) -> None:
        """See `RaftDisk.fail`: the database may not grow."""
        self._database.execute("PRAGMA max_page_count = 1")

    def writes(self) -> int:
        """See `RaftDisk.writes`: every change of a row."""
        return self._database.total_changes

    def close(self) -> None:
        """End the running process."""
        if self._storage is not None:
            self._storage.close()
