"""A second place that says how much was stored, so that a database that lost its end is noticed."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Self

from mnc.raft import NodeId

__all__ = ["Mark", "sync_folder"]


class Mark:
    """A small file with the number of the last save, written in place after each.

    A line of text: the node, the number in 20 digits, and a checksum of both.

    It isn't synced with each save, which would double the time a save takes. So after a power cut
    it may stand at an earlier save, but never at one that the database doesn't have.

    Invariants: the mark is never ahead of what was committed.
    """

    def __init__(self, path: Path, node: NodeId) -> None:
        """Open the mark of `node`. Raises OSError; ValueError if it isn't one of that node."""
        self._node = node
        self._file = path.open("r+b", buffering=0)
        self._line = self._file.read()
        fields = self._line.decode("ascii", "replace").split()
        self._saves = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
        if self._line != _line(node, self._saves):
            self._file.close()
            raise ValueError(f"{path.name} is damaged, or that of another node")

    @classmethod
    def create(cls, path: Path, node: NodeId) -> Self:
        """Make the mark of a node that has stored nothing. Raises OSError."""
        unfinished = path.with_suffix(".new")
        with unfinished.open("wb") as file:
            file.write(_line(node, 0))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
        return cls(path, node)

    @property
    def saves(self) -> int:
        """The number of the last save."""
        return self._saves

    def require_unchanged(self) -> None:
        """Raise OSError if somebody else has moved the mark.

        The database's lock excludes that, but not on a network file system that ignores locks.
        """
        if os.pread(self._file.fileno(), len(self._line), 0) != self._line:
            raise OSError("another process stores in the same folder")

    def move(self, saves: int) -> None:
        """Say that the save with this number is committed. Raises OSError."""
        self._line, self._saves = _line(self._node, saves), saves
        os.pwrite(self._file.fileno(), self._line, 0)

    def sync(self) -> None:
        """Make the mark safe from a power cut. Raises OSError."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; again is harmless."""
        self._file.close()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe from a power cut. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _line(node: NodeId, saves: int) -> bytes:
    text = f"{node} {saves:020}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()
