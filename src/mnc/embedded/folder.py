"""The folder that `mnc up` keeps its servers' data in: one user at a time, and nothing else's."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mnc.errors import ConfigError, MncError

__all__ = ["DataFolder", "FolderInUseError", "open_data_folder"]

_OPTION = "--data-dir"
_LOCK = "mnc.lock"
"""Held while the folder is used; its presence marks a folder as made by `mnc up`."""


class FolderInUseError(MncError):
    """Another `mnc up` uses the data folder."""

    kind = "folder_in_use"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where what is in a data folder."""

    path: Path

    @property
    def mongod_dir(self) -> Path:
        """MongoDB's data and log."""
        return self.path / "mongod"

    @property
    def nats_dir(self) -> Path:
        """The NATS server's data, configuration and log."""
        return self.path / "nats-server"

    @property
    def log_path(self) -> Path:
        """The connector's log, when it is not written to the terminal."""
        return self.path / "mnc.log"


@contextmanager
def open_data_folder(path: Path, *, reset: bool) -> Iterator[DataFolder]:
    """Lock the folder at `path`, which is made if it isn't there, until the block ends.

    `reset` removes the data that is in it. A folder that has other things in it is neither used nor
    emptied. Raises ConfigError when the folder can't be used, FolderInUseError when it is in use.
    """
    folder = DataFolder(path.absolute())
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if any(folder.path.iterdir()) and not (folder.path / _LOCK).is_file():
            raise ConfigError(
                _OPTION,
                f"{folder.path} has files in it and was not made by `mnc up`",
                remedy="name another folder, which need not exist",
            )
        lock = os.open(folder.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(_OPTION, f"can't use {folder.path}: {error.strerror}") from error
    try:
        _acquire(lock, folder.path)
        if reset:
            _remove_data(folder)
        (folder.path / ".gitignore").write_text("*\n")
        yield folder
    finally:
        os.close(lock)  # which releases it


def _acquire(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        raise FolderInUseError(
            f"another `mnc up`, process {owner}, uses {path}",
            remedy=f"end it, or name another folder with {_OPTION}",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _remove_data(folder: DataFolder) -> None:
    for data_dir in (folder.mongod_dir, folder.nats_dir):
        if data_dir.exists():
            shutil.rmtree(data_dir)
    folder.log_path.unlink(missing_ok=True)
